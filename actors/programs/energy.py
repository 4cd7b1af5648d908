"""The energy that devices take, from a counter that is read while they work. Standard library only.

A device's driver counts the joules since it was loaded. What was taken in a span of time is the difference between the
counter's values at its ends, each of them between two looks: so the looks may come late, but none is lost in between.
The counter itself moves ten to fifty times a second.
"""

import bisect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from actors.programs.looking import looking

_EVERY_S = 0.1
"""Between two looks at the counter."""
_SETTLES_S = 2.0
"""After its last request, before a device's power is that of one without work: its clocks fall meanwhile."""
_IDLE_S = 5.0
"""Over which the power without work is the mean."""

Counter = Callable[[], float | None]
"""Joules since any moment in the past; None where the devices do not tell."""


@dataclass
class Energy:
    """What a counter said while a block lasted."""

    looks: list[tuple[float, float]] = field(default_factory=list)
    """When (seconds since 1970), and the joules until then."""

    def joules(self, start: float, end: float) -> float | None:
        """What was taken in a span of time; None where it was not watched from one end to the other, or the counter
        began anew.

        Args:
            start, end: seconds since 1970.
        """
        began, ended = self._at(start), self._at(end)
        return ended - began if began is not None and ended is not None and ended >= began else None

    def _at(self, moment: float) -> float | None:
        """The counter at a moment, on the line between the looks around it."""
        after = bisect.bisect_left(self.looks, (moment, 0.0))
        if after == len(self.looks) or (after == 0 and self.looks[0][0] > moment):
            return None
        (earlier, before), (later, now) = self.looks[max(after - 1, 0)], self.looks[after]
        return before + (now - before) * (moment - earlier) / (later - earlier) if later > earlier else now


@contextmanager
def watched(counter: Counter | None) -> Iterator[Energy]:
    """Look ten times a second, from a thread of its own, while the block lasts; never where there is no counter."""
    energy = Energy()
    if counter is None:
        yield energy
        return

    def look() -> None:
        if (joules := counter()) is not None:
            energy.looks.append((time.time(), joules))

    look()
    with looking(look, _EVERY_S):
        yield energy
    look()


def idle_power_w(counter: Counter) -> float | None:
    """The mean power, in watts, over some seconds in which nobody asks anything of the devices; None where they do not
    tell."""
    time.sleep(_SETTLES_S)
    began, before = time.monotonic(), counter()
    time.sleep(_IDLE_S)
    now, seconds = counter(), time.monotonic() - began
    return (now - before) / seconds if before is not None and now is not None and now >= before else None
