"""The one folder of this project that an engine can import from."""
