"""What may be asked for: typed, frozen settings, and the YAML that fills them in."""
