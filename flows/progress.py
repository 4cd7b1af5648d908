"""What a run says while it works: one plain line for each step that starts, ends or fails."""

import sys
import threading
import time
from typing import TextIO


class Progress:
    """Timed lines, whole even when several threads speak at once."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def say(self, who: str, what: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        with self._lock:
            print(f"[{minutes:02d}:{seconds:02d}] {who:<14} {what}", file=self._out, flush=True)
