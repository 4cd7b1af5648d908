"""When a point's window begins and ends, and when its last request has been followed. Pure; a clock is passed in.

A point has three parts, under the same load from end to end: a warm-up until the requests under way are steady, the
window, and a drain, in which the requests that began in the window are followed to their end while others keep
coming, so that the last of them meet the load that the first met. A window cut off at its end loses the slowest
requests, and one that begins with an empty pipe takes its filling for a server that falls behind.
"""

import math
from dataclasses import dataclass, field

_LOOK_S = 0.1
"""Seconds between two looks at the requests under way."""
_LATE_NEWS_S = 0.25
"""How much later than a request began the client's other processes may tell of it."""


@dataclass(frozen=True)
class Pace:
    """How long the parts of a point last, in seconds."""

    warmup_s: float
    """At least so long is warmed up."""
    duration_s: float
    """Of the window."""
    requests: int = 0
    """Fewest requests that begin in the window; it goes on for them."""
    longest_s: float = 0.0
    """Beyond which the window goes on for no more requests."""
    grace_s: float = 0.0
    """Beyond `warmup_s` for the warm-up, and again for the drain; 0 cuts requests off at the window's end."""
    open_loop: bool = False
    """Whether requests come at a rate: then the warm-up goes on until those under way are steady. Clients that wait
    for answers have as many under way from the first moment on."""


@dataclass
class Point:
    """One point of a load while it goes on; times in seconds since any moment, but the same for all."""

    pace: Pace
    began: float | None = None
    """When the first request did."""
    window: tuple[float, float] | None = None
    """Begin and end, the end infinite until it is known."""
    _open: dict[str, float] = field(default_factory=dict)
    """When every request that has not ended began, by its ID; in an open loop, when it was due."""
    _ended: list[float] = field(default_factory=list)
    """When those that ended during the warm-up began."""
    _inside: int = 0
    """Requests that began in the window."""
    _next_look: float = -math.inf

    def begin(self, request: str, moment: float) -> None:
        """A request was sent; in an open loop: it is known when it is due."""
        if request not in self._open:
            self._open[request] = moment
            self.began = moment if self.began is None else min(self.began, moment)
            self._inside += self.window is not None and self.window[0] <= moment < self.window[1]

    def end(self, request: str) -> None:
        """A request was answered, or failed."""
        moment = self._open.pop(request, None)
        if moment is not None and self.window is None:
            self._ended.append(moment)

    def over(self, now: float) -> bool:
        """Whether all that was to be seen of this point has been seen."""
        if self.began is None or now < self._next_look:
            return False
        self._next_look = now + _LOOK_S
        if self.window is None and self._warm(now):
            self.window = (now, math.inf)
            self._inside = sum(moment >= now for moment in self._open.values())
        if self.window is None:
            return False
        begin, end = self.window
        if now < end and self._complete(now - begin):
            end = now if self.pace.requests else begin + self.pace.duration_s
            self.window = (begin, end)
        return now >= end and (now >= end + self.pace.grace_s or self._followed(now, begin, end))

    def _warm(self, now: float) -> bool:
        """Whether the warm-up has lasted long enough: every request of its first half has ended, so that it has lasted
        for two latencies, however much these differ."""
        assert self.began is not None
        passed = now - self.began
        if passed < self.pace.warmup_s:
            return False
        if not self.pace.open_loop or passed >= self.pace.warmup_s + self.pace.grace_s:
            return True
        half = self.began + passed / 2
        waits = any(moment <= half for moment in self._open.values())
        return not waits and any(moment <= half for moment in self._ended)

    def _complete(self, passed: float) -> bool:
        """Whether a window that has lasted so long may end."""
        if passed < self.pace.duration_s:
            return False
        return self._inside >= self.pace.requests or passed >= max(self.pace.duration_s, self.pace.longest_s)

    def _followed(self, now: float, begin: float, end: float) -> bool:
        late = _LATE_NEWS_S if self.pace.grace_s else 0.0
        return now >= end + late and not any(begin - late <= moment < end for moment in self._open.values())
