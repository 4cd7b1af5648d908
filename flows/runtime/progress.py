"""Events of a run: one for each step that starts, ends or fails, shown as a plain line.

The processes that follow variants write their lines into files of the experiment; the driver shows them
as they come, and so can anybody who looks at the files later.
"""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol, TextIO

from pydantic import TypeAdapter

_POLL_S = 0.2

Kind = Literal["under way", "measured", "stopped", "failed"]
"""What an event says of a variant: that it is at work, or how it ended."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a variant, or to a part of the run."""

    who: str
    what: str
    """In words, for people."""
    kind: Kind = "under way"
    at: float = 0.0
    """Seconds since 1970."""

    @property
    def ends(self) -> bool:
        """Whether there is nothing more to come of who it is about."""
        return self.kind != "under way"


_EVENT = TypeAdapter(Event)


class Says(Protocol):
    """Whoever takes an event in words."""

    def say(self, who: str, what: str, kind: Kind = "under way") -> None: ...


class Progress:
    """Timed lines, whole even when several threads speak at once."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def say(self, who: str, what: str, kind: Kind = "under way") -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        with self._lock:
            print(f"[{minutes:02d}:{seconds:02d}] {who:<14} {what}", file=self._out, flush=True)


class EventFile:
    """Lines of one process, in a file that others read."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file

    def say(self, who: str, what: str, kind: Kind = "under way") -> None:
        """On a full disk a line is lost, and no more than that."""
        line = json.dumps(asdict(Event(who, what, kind, time.time())))
        with contextlib.suppress(OSError), self._file.open("a") as file:
            file.write(line + "\n")


def events_folder(logs: Path) -> Path:
    """Where the processes of an experiment write their lines."""
    return logs / "events"


@contextlib.contextmanager
def relayed(folder: Path, to: Says) -> Iterator[None]:
    """Whatever is written into the event files of a folder inside the block is said, too."""
    offsets = {file: file.stat().st_size for file in folder.glob("*.jsonl")}
    ended = threading.Event()
    relay = threading.Thread(target=_relay, args=(folder, offsets, to, ended), daemon=True)
    relay.start()
    try:
        yield
    finally:
        ended.set()
        relay.join()


def _relay(folder: Path, offsets: dict[Path, int], to: Says, ended: threading.Event) -> None:
    while True:
        last = ended.wait(_POLL_S)
        for file in sorted(folder.glob("*.jsonl")):
            with file.open(errors="replace") as lines:
                lines.seek(offsets.get(file, 0))
                for line in iter(lines.readline, ""):
                    if not line.endswith("\n"):
                        break
                    if event := _event(line):
                        to.say(event.who, event.what, event.kind)
                    offsets[file] = lines.tell()
        if last:
            return


def latest(folder: Path) -> dict[str, Event]:
    """The last event of everybody."""
    last: dict[str, Event] = {}
    for file in folder.glob("*.jsonl"):
        for event in filter(None, map(_event, file.read_text(errors="replace").splitlines())):
            if event.who not in last or last[event.who].at <= event.at:
                last[event.who] = event
    return last


def _event(line: str) -> Event | None:
    """A line of an event file; None where a full disk has cut it, or its moment is none."""
    try:
        event = _EVENT.validate_json(line)
        datetime.fromtimestamp(event.at)
    except (ValueError, OverflowError, OSError):
        return None
    return event
