"""Names and types of what crosses a process border, for those who write it and those who read it."""

REQUESTS = "requests.jsonl"
"""In a benchmark's folder: one line for each request of every point."""
