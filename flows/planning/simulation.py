"""A run played through without doing anything: who sits where and when, by the rules of
`actors.placement.allocation`."""

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from actors.placement.allocation import SlotAllocation
from actors.placement.rounds import Member, Series, Turn
from actors.placement.slots import DeviceSlots


@dataclass(frozen=True)
class Stay:
    """One stay on a slot."""

    seconds: float
    """Of work: quantizing, or an engine's start and its evaluations."""
    series: tuple[tuple[int, ...], ...] = ()
    """Indices of the benchmarks that follow, load by load; none for a stay that only works."""
    benchmarks: Mapping[int, float] = field(default_factory=dict)
    """Seconds of each of them."""
    sizes: tuple[int, ...] = (1,)
    """Slots of each engine, on the same host."""


@dataclass(frozen=True)
class Way:
    """The stays of one variant, in order."""

    name: str
    stays: tuple[Stay, ...]


@dataclass(frozen=True)
class Played:
    seconds: float
    slot_seconds: float
    """Over all slots, how long they were held."""


@dataclass
class _Walker:
    way: Way
    stay: int = 0
    since: float | None = None
    """When it sat down; None while it waits for a slot."""
    ready: bool = False
    turn: Turn | None = None


def play(ways: Sequence[Way], slots: DeviceSlots, *, hosts: int, room: int) -> Played:
    """How long the variants take, `room` of them under way at the same time, on so many hosts. Where a round may be
    co-located, co-location is taken to cost too little to forbid it."""
    return _Play(ways, SlotAllocation({f"host {host}": slots for host in range(hosts)}), room).through()


class _Play:
    def __init__(self, ways: Sequence[Way], allocation: SlotAllocation, room: int) -> None:
        self._coming = [_Walker(way) for way in ways if way.stays]
        self._present: list[_Walker] = []
        self._allocation, self._room = allocation, room
        self._now = self._held = 0.0
        self._events: list[tuple[float, int, _Walker]] = []
        self._order = itertools.count()

    def through(self) -> Played:
        self._settle()
        while self._events:
            self._now, _, walker = heapq.heappop(self._events)
            self._happened(walker)
            self._settle()
        return Played(self._now, self._held)

    def _happened(self, walker: _Walker) -> None:
        """The end of its work, or of its turn."""
        name = walker.way.name
        if walker.turn is not None:
            turn, walker.turn = walker.turn, None
            self._allocation.done(name, turn, 1.0)
        elif series := walker.way.stays[walker.stay].series:
            walker.ready = True
            beside = ("base",) * (len(walker.way.stays[walker.stay].sizes) - 1)
            self._allocation.ready(name, Member(name, tuple(Series(indices, 1.0) for indices in series), beside=beside))
        else:
            self._leave(walker)

    def _settle(self) -> None:
        """Whatever can begin now begins."""
        moved = True
        while moved:
            while self._coming and len(self._present) < self._room:
                walker = self._coming.pop(0)
                self._present.append(walker)
                self._ask(walker)
            moved = any([self._moves(walker) for walker in list(self._present)])

    def _moves(self, walker: _Walker) -> bool:
        name, stay = walker.way.name, walker.way.stays[walker.stay]
        if walker.since is None:
            if self._allocation.take(name) is None:
                return False
            walker.since = self._now
            self._wait(walker, stay.seconds)
            return True
        if not walker.ready or walker.turn is not None:
            return False
        if (turn := self._allocation.turn(name)) is not None:
            walker.turn = turn
            self._wait(walker, stay.benchmarks[turn.benchmark])
            return True
        if self._allocation.measured(name):
            self._leave(walker)
            return True
        return False

    def _leave(self, walker: _Walker) -> None:
        self._allocation.leave(walker.way.name)
        self._held += (self._now - (walker.since or 0.0)) * sum(walker.way.stays[walker.stay].sizes)
        walker.stay, walker.since, walker.ready = walker.stay + 1, None, False
        if walker.stay < len(walker.way.stays):
            self._ask(walker)
        else:
            self._present.remove(walker)

    def _ask(self, walker: _Walker) -> None:
        stay = walker.way.stays[walker.stay]
        self._allocation.queue(walker.way.name, to_be_measured=bool(stay.series), sizes=stay.sizes)

    def _wait(self, walker: _Walker, seconds: float) -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._order), walker))
