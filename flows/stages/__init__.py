"""The stages of a run, in order: checkpoints, then accuracy and load of what is served."""
