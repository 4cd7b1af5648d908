"""How long a fake engine takes for one call, and how often it was called: tests/faults and tests/bench ask."""

import os
import time
from pathlib import Path


def take_time() -> None:
    """As long as FAKE_SECONDS says; one line goes into FAKE_CALLS."""
    if calls := os.environ.get("FAKE_CALLS"):
        with Path(calls).open("a") as file:
            file.write(f"{os.getpid()}\n")
    time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
