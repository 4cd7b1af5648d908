"""Who sits where, and whose turn it is to be measured. Plain state, without Ray or time.

A seat is a share of a host: cores, or GPUs. Whatever computes sits on one, quantizers and engines
alike, so that nothing waits for a device while it holds another. A host is either at work or being
measured: a round opens when everybody who sits there is ready for it, and while it lasts nobody else
sits down. Inside a round the turns are given one after the other, or to all at the same time where
company was seen to cost little. What a benchmark is stays its member's business: here it is a number.
"""

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from actors.cores import Seats


@dataclass(frozen=True)
class Place:
    """A seat on a host."""

    host: str
    seat: int


@dataclass(frozen=True)
class Turn:
    """What a member of a round does next: one of its benchmarks, or one that goes into no record."""

    benchmark: int
    """Its place among those of the member."""
    probe: bool = False
    """Only to see how fast the member is, alone or in company."""
    company: tuple[str, ...] = ()
    """Names of all that are loaded at the same time; empty where the member is loaded alone."""
    interference: Mapping[str, Any] | None = None
    """What company was seen to cost the first member, where that was measured."""


@dataclass(frozen=True)
class Series:
    """Benchmarks under the same load, which follow each other."""

    missing: tuple[int, ...]
    """Places of those that have no record yet."""
    max_interference: float


@dataclass(frozen=True)
class Member:
    """Somebody who is ready to be measured."""

    name: str
    series: tuple[Series, ...]
    """One for each load, in the same order for all members."""


_Turns = dict[str, Turn]
_Speeds = dict[str, float]


class Round:
    """The turns of those who are measured together. Turns come in batches: the next batch is given out
    when the last is done. Who goes first changes from benchmark to benchmark, so that what drifts on the
    machine favours nobody. What company costs depends on the load, so it is seen anew for every series."""

    def __init__(self, members: Mapping[str, Member], *, together: bool) -> None:
        self.members = dict(members)
        self._script = self._batches(together)
        self._waiting: _Turns = {}
        self._at_work: set[str] = set()
        self._speeds: _Speeds = {}
        self._advance(first=True)

    def turn(self, holder: str) -> Turn | None:
        """The holder's turn, if it has one now."""
        turn = self._waiting.pop(holder, None)
        if turn is not None:
            self._at_work.add(holder)
        return turn

    def done(self, holder: str, tokens_per_second: float | None) -> None:
        """A turn has ended; without a speed it failed."""
        if tokens_per_second is not None:
            self._speeds[holder] = tokens_per_second
        self._at_work.discard(holder)
        self._advance()

    def drop(self, holder: str) -> None:
        """A member is gone."""
        self.members.pop(holder, None)
        self._waiting.pop(holder, None)
        self._at_work.discard(holder)
        self._advance()

    def _advance(self, *, first: bool = False) -> None:
        while self.members and not self._waiting and not self._at_work:
            speeds, self._speeds = self._speeds, {}
            try:
                batch = next(self._script) if first else self._script.send(speeds)
            except StopIteration:
                self.members.clear()
                return
            first = False
            self._waiting = {holder: turn for holder, turn in batch.items() if holder in self.members}

    def _batches(self, together: bool) -> Generator[_Turns, _Speeds, None]:
        for place in range(max((len(member.series) for member in self.members.values()), default=0)):
            yield from self._one_series(place, together)

    def _one_series(self, place: int, together: bool) -> Generator[_Turns, _Speeds, None]:
        present = {
            holder: member.series[place]
            for holder, member in self.members.items()
            if len(member.series) > place and member.series[place].missing
        }
        together = together and len(present) > 1
        interference = None
        if together:
            first, limit = next(iter(present.items()))
            name = self.members[first].name
            probes = {holder: Turn(series.missing[0], probe=True) for holder, series in present.items()}
            alone = yield {first: probes[first]}
            crowd = yield probes
            together = False
            if first in alone and first in crowd:
                loss = 1 - crowd[first] / alone[first]
                together = loss <= limit.max_interference
                interference = {
                    "variant": name,
                    "alone": alone[first],
                    "in_company": crowd[first],
                    "loss": loss,
                    "limit": limit.max_interference,
                }
        company = tuple(self.members[h].name for h in present if h in self.members) if together else ()
        for benchmark in sorted({missing for series in present.values() for missing in series.missing}):
            waiting = [holder for holder, series in present.items() if benchmark in series.missing]
            turn = Turn(benchmark, company=company, interference=interference)
            if together:
                yield {holder: turn for holder in waiting}
            else:
                for holder in waiting if benchmark % 2 == 0 else waiting[::-1]:
                    yield {holder: turn}


@dataclass
class _Host:
    seats: Seats
    taken: dict[int, str] = field(default_factory=dict)
    ready: dict[str, Member] = field(default_factory=dict)
    round: Round | None = None

    @property
    def free(self) -> int | None:
        return next((seat for seat in range(len(self.seats.engines)) if seat not in self.taken), None)


class Seating:
    """All hosts, everybody who sits, and everybody who waits for a seat in the order of asking."""

    def __init__(self, hosts: Mapping[str, Seats]) -> None:
        self._hosts = {name: _Host(seats) for name, seats in hosts.items()}
        self._queue: dict[str, bool] = {}

    @property
    def holders(self) -> set[str]:
        """Everybody who sits or waits."""
        return {holder for host in self._hosts.values() for holder in host.taken.values()} | set(self._queue)

    def keep_hosts(self, living: Collection[str]) -> None:
        """Give up the hosts that are gone; nobody sits there any more."""
        self._hosts = {name: host for name, host in self._hosts.items() if name in living}

    def queue(self, holder: str, *, to_be_measured: bool) -> None:
        """Ask for a seat; `take` it when it is there."""
        self._queue[holder] = to_be_measured

    def take(self, holder: str) -> Place | None:
        """The holder's seat, unless there is none yet, or somebody who asked earlier can have it."""
        if not self._hosts:
            raise RuntimeError("no node is left to work on")
        for first, to_be_measured in self._queue.items():
            name = self._host_for(to_be_measured)
            if name is None:
                continue
            if first != holder:
                return None
            del self._queue[holder]
            seat = self._hosts[name].free
            assert seat is not None
            self._hosts[name].taken[seat] = holder
            return Place(name, seat)
        return None

    def _host_for(self, to_be_measured: bool) -> str | None:
        """The host with most free seats that takes one more: none that is being measured, and where somebody
        waits for that, only those who will be measured with it."""
        open_to = [
            (len(host.seats.engines) - len(host.taken), name)
            for name, host in self._hosts.items()
            if host.free is not None and host.round is None and (to_be_measured or not host.ready)
        ]
        return max(open_to, key=lambda found: found[0])[1] if open_to else None

    def ready(self, holder: str, member: Member) -> None:
        """A seated holder is ready to be measured; a round opens when nobody on its host works any more."""
        host = self._host_of(holder)
        if host is not None:
            host.ready[holder] = member
            self._open_rounds()

    def turn(self, holder: str) -> Turn | None:
        """The holder's turn, if it has one now."""
        host = self._host_of(holder)
        return host.round.turn(holder) if host and host.round else None

    def measured(self, holder: str) -> bool:
        """Whether the holder has no more turns to wait for."""
        host = self._host_of(holder)
        return host is None or (holder not in host.ready and (host.round is None or holder not in host.round.members))

    def done(self, holder: str, tokens_per_second: float | None) -> None:
        """The holder's turn has ended."""
        host = self._host_of(holder)
        if host and host.round:
            host.round.done(holder, tokens_per_second)
            self._open_rounds()

    def leave(self, holder: str) -> None:
        """Give up a seat, or the wish for one."""
        self._queue.pop(holder, None)
        for host in self._hosts.values():
            host.taken = {seat: other for seat, other in host.taken.items() if other != holder}
            host.ready.pop(holder, None)
            if host.round:
                host.round.drop(holder)
        self._open_rounds()

    def _host_of(self, holder: str) -> _Host | None:
        return next((host for host in self._hosts.values() if holder in host.taken.values()), None)

    def _open_rounds(self) -> None:
        for host in self._hosts.values():
            if host.round and not host.round.members:
                host.round = None
            working = set(host.taken.values()) - set(host.ready)
            if host.round is None and host.ready and not working and not self._may_still_come(host):
                host.round, host.ready = Round(host.ready, together=host.seats.together), {}

    def _may_still_come(self, host: _Host) -> bool:
        """Whether somebody who would be measured too waits for a seat that is free on this host."""
        return host.free is not None and any(self._queue.values())
