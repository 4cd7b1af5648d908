"""How long a fake engine takes for one call, how often it was called, and whether a call fails: tests/faults and
tests/bench ask."""

import contextlib
import os
import time
from pathlib import Path


def take_time(*, of_a_step: bool = True) -> None:
    """As long as MSF_FAKE_SECONDS says; one line goes into MSF_FAKE_CALLS.

    Args:
        of_a_step: whether a record comes of the call; of what warms an engine up, none does, and no line.

    Raises:
        RuntimeError: there was a file `raise` in MSF_FAULTS_FOLDER; it stands for one call.
    """
    if of_a_step and (calls := os.environ.get("MSF_FAKE_CALLS")):
        with Path(calls).open("a") as file:
            file.write(f"{os.getpid()}\n")
    rest()
    if faults := os.environ.get("MSF_FAULTS_FOLDER"):
        with contextlib.suppress(FileNotFoundError):
            (Path(faults) / "raise").unlink()
            raise RuntimeError("the engine raised this, as it was told to")


def rest() -> None:
    """As long as MSF_FAKE_SECONDS says."""
    time.sleep(float(os.environ.get("MSF_FAKE_SECONDS", "0")))
