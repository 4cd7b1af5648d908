"""Numbers alone: intervals, tests and percentiles, each with its source."""
