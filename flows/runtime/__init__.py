"""The state of a run: its outcomes so far, the actors that it shares, its faults and its progress."""
