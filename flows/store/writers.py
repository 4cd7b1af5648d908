"""Who writes a draft, and whether that process still runs."""

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

WRITER = "writer.json"
GIVEN_UP_AFTER_S = 24 * 3600
"""A draft whose writer cannot be checked from here is given up after so long without a change."""


@dataclass(frozen=True)
class Writer:
    """A process; by when it started it differs from a later one with the same id."""

    host: str
    process: int
    started: int | None
    """Clock ticks since the host's start."""

    @classmethod
    def this(cls) -> "Writer":
        return cls(socket.gethostname(), os.getpid(), _started(os.getpid()))

    @classmethod
    def of(cls, folder: Path) -> "Writer | None":
        """Who has signed a folder; None where nobody did, or died over it."""
        try:
            return cls.parsed((folder / WRITER).read_bytes())
        except OSError:
            return None

    @classmethod
    def parsed(cls, signature: bytes | None) -> "Writer | None":
        """Who has left a signature; None where it is none."""
        try:
            return _WRITER.validate_json(signature or b"")
        except ValidationError:
            return None

    def sign(self, folder: Path) -> None:
        (folder / WRITER).write_text(json.dumps(asdict(self)))

    @property
    def on_this_host(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether it still runs; only its own host can tell."""
        return self.started is not None and _started(self.process) == self.started


_WRITER = TypeAdapter(Writer)


def _started(process: int) -> int | None:
    """When a process of this host started (field 22 of its stat); None where it has ended."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    # The command's name, in brackets, may itself hold blanks and brackets; the state is field 3.
    state, *others = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(others[18])
