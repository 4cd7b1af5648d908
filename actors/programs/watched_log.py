"""A log that somebody else writes, with the time of every part of it, to tell what was written inside a window.

An engine's lines say at best the second, and some of its libraries write lines without a time. Standard library only.
"""

import threading
import time
from pathlib import Path

_POLL_S = 0.1


class WatchedLog:
    """Looks at a file as long as this process lives."""

    def __init__(self, file: Path) -> None:
        self._file, self._sizes = file, [(time.time(), 0)]
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(_POLL_S)
            if (size := self._file.stat().st_size) != self._sizes[-1][1]:
                self._sizes.append((time.time(), size))

    def between(self, start: float, end: float) -> str:
        """What was written from one moment to another, in seconds since 1970; to a tenth of a second."""
        begin = max((size for at, size in self._sizes if at <= start), default=0)
        stop = max((size for at, size in self._sizes if at <= end + _POLL_S), default=0)
        with self._file.open("rb") as file:
            file.seek(begin)
            return file.read(stop - begin).decode(errors="replace")
