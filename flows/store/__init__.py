"""The store of finished steps: a step, its record, and where both lie."""
