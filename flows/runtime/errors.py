"""The errors that a stage may raise."""


class StepFailed(Exception):
    """A step that could not be finished; the message is its reason."""


class TimedOut(StepFailed):
    """A step that came to no result in its time, and may do so another time."""


class EarlyStopped(Exception):
    """A variant that can no longer win; what is known of it stays."""
