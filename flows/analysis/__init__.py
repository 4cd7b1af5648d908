"""From records to a decision: figures, intervals, differences, verdicts."""
