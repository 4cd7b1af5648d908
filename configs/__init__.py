"""The settings of an experiment: typed and frozen, and the YAML that fills them in."""
