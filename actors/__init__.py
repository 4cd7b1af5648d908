"""Who does the work and owns the devices."""
