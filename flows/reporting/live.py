"""The live view of a run: what every variant does now, and how much is left."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flows.runtime.progress import Event, Kind, Progress, Says

_MOST_ROWS = 20


@contextlib.contextmanager
def watching(variants: Sequence[str]) -> Iterator[Says]:
    """On a terminal a table of the variants under way below the lines; plain lines elsewhere."""
    if not sys.stdout.isatty():
        yield Progress()
        return
    console = Console()
    board = Board(variants, Progress())
    with Live(get_renderable=board.shown, console=console, refresh_per_second=1, redirect_stdout=True, transient=True):
        yield board


class Board:
    """The last event of every variant."""

    def __init__(self, variants: Sequence[str], lines: Says) -> None:
        self._lines = lines
        self._last: dict[str, Event | None] = dict.fromkeys(variants)
        self._started = time.time()

    def say(self, who: str, what: str, kind: Kind = "under way") -> None:
        """Print a line, and keep it where it is about a variant."""
        self._lines.say(who, what, kind)
        if who in self._last:
            self._last[who] = Event(who, what, kind, time.time())

    def shown(self) -> Group:
        """The table and the sum of it."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False)
        for header in ("variant", "now", "since"):
            table.add_column(header, no_wrap=True, justify="right" if header == "since" else "left")
        now = time.time()
        under_way = [event for event in self._last.values() if event and not event.ends]
        for event in under_way[:_MOST_ROWS]:
            table.add_row(event.who, Text(event.what), _minutes(now - event.at))
        return Group(table, Text(self._sum(len(under_way), now)))

    def _sum(self, under_way: int, now: float) -> str:
        finished = sum(event is not None and event.ends for event in self._last.values())
        waiting = len(self._last) - finished - under_way
        left = (now - self._started) * (len(self._last) - finished) / finished if finished else None
        pace = f", about {_minutes(left)} left at this pace" if left else ""
        return f"{finished} of {len(self._last)} finished, {under_way} under way, {waiting} waiting{pace}"


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
