"""What would be done, what it takes, and what cannot work, before any device is used."""
