"""In which order the work is done, that it is done once, and that it is written down."""
