"""Who sits where, and whose turn it is to be measured. Plain state, without Ray or time.

A seat is a share of a host: cores, or GPUs. Whatever computes sits on one, quantizers and engines
alike, so that nothing waits for a device while it holds another. A host is either at work or being
measured: a round opens when everybody who sits there is ready for it, and while it lasts nobody else
sits down. Inside a round the turns are given one after the other, or to all at the same time where
company was seen to cost little. What a benchmark is stays its member's business: here it is a number.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
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
    number: int = 0
    """Of the batches of its round."""


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
    experiment: str = ""


_Company = tuple[frozenset[str], int, int]
"""Of which experiments, under which of their loads, and how many variants."""
_Seen = dict[_Company, Mapping[str, Any]]
"""What company was seen to cost on a host."""
_Turns = dict[str, Turn]


class Round:
    """The turns of those who are measured together. Turns come in batches: the next batch is given out
    when the last is done. Who goes first changes from benchmark to benchmark, so that what drifts on the
    machine favours nobody. What company costs depends on the load, so every series has its own probes: the
    first member alone, then all at once. They hold for as many of the same experiments on the same host."""

    def __init__(self, members: Mapping[str, Member], *, together: bool, seen: _Seen | None = None) -> None:
        self.members = dict(members)
        self._together = together
        self._seen: _Seen = {} if seen is None else seen
        self._place = -1
        """Of the series under way."""
        self._company: _Company | None = None
        """Who might be loaded together in it; None for one after the other."""
        self._batches: list[_Turns] = []
        self._given = 0
        self._now: _Turns = {}
        """The turns of the latest batch that are not done."""
        self._probes: list[dict[str, float]] = []
        """Output tokens per second of the first member alone, then of all in company."""
        self._advance()

    def turn(self, holder: str) -> Turn | None:
        """The holder's turn, if it has one now: the same until it is done."""
        return self._now.get(holder)

    def done(self, holder: str, turn: Turn, tokens_per_second: float | None) -> None:
        """A turn has ended; without a speed it failed. Said twice it counts once."""
        if self._now.get(holder) != turn:
            return
        del self._now[holder]
        if turn.probe and tokens_per_second is not None:
            self._probes[-1][holder] = tokens_per_second
        self._advance()

    def drop(self, holder: str) -> None:
        """A member is gone."""
        self.members.pop(holder, None)
        self._now.pop(holder, None)
        self._advance()

    def _advance(self) -> None:
        while self.members and not self._now:
            if not self._batches and not self._go_on():
                self.members.clear()
                return
            batch = self._batches.pop(0) if self._batches else {}
            if any(turn.probe for turn in batch.values()):
                self._probes.append({})
            self._given += 1
            present = {holder: turn for holder, turn in batch.items() if holder in self.members}
            self._now = {holder: replace(turn, number=self._given) for holder, turn in present.items()}

    def _go_on(self) -> bool:
        """From a series' probes to its benchmarks, from these to the next series; False after the last."""
        if self._probes:
            self._judge_company()
            self._batches = self._benchmarks()
            return True
        self._place += 1
        if self._place >= max(len(member.series) for member in self.members.values()):
            return False
        present = self._present()
        experiments = frozenset(self.members[holder].experiment for holder in present)
        self._company = (experiments, self._place, len(present)) if self._together and len(present) > 1 else None
        if self._company is None or self._company in self._seen:
            self._batches = self._benchmarks()
        else:
            probes = {holder: Turn(series.missing[0], probe=True) for holder, series in present.items()}
            self._batches = [dict([next(iter(probes.items()))]), probes]
        return True

    def _present(self) -> dict[str, Series]:
        """The series under way of those who miss something of it."""
        return {
            holder: member.series[self._place]
            for holder, member in self.members.items()
            if len(member.series) > self._place and member.series[self._place].missing
        }

    def _judge_company(self) -> None:
        (alone, crowd), self._probes = self._probes, []
        first = next((holder for holder in alone if holder in self.members), None)
        if self._company is None or first is None or first not in crowd:
            self._company = None
            return
        self._seen[self._company] = {
            "variant": self.members[first].name,
            "alone": alone[first],
            "in_company": crowd[first],
            "loss": 1 - crowd[first] / alone[first],
            "limit": self.members[first].series[self._place].max_interference,
        }

    def _benchmarks(self) -> list[_Turns]:
        """What is missing of the series under way."""
        present = self._present()
        interference = self._seen[self._company] if self._company else None
        together = interference is not None and interference["loss"] <= interference["limit"]
        company = tuple(self.members[holder].name for holder in present) if together else ()
        batches: list[_Turns] = []
        for benchmark in sorted({missing for series in present.values() for missing in series.missing}):
            waiting = [holder for holder, series in present.items() if benchmark in series.missing]
            turn = Turn(benchmark, company=company, interference=interference)
            if together:
                batches.append(dict.fromkeys(waiting, turn))
            else:
                batches += [{holder: turn} for holder in (waiting if benchmark % 2 == 0 else waiting[::-1])]
        return batches


@dataclass
class _Host:
    seats: Seats
    taken: dict[int, str] = field(default_factory=dict)
    ready: dict[str, Member] = field(default_factory=dict)
    round: Round | None = None
    seen: _Seen = field(default_factory=dict)

    @property
    def free(self) -> int | None:
        return next((seat for seat in range(len(self.seats.engines)) if seat not in self.taken), None)


class Seating:
    """All hosts, everybody who sits, and everybody who waits for a seat: those who will be measured before
    those who only work, else in the order of asking."""

    def __init__(self, hosts: Mapping[str, Seats]) -> None:
        self._hosts = {name: _Host(seats) for name, seats in hosts.items()}
        self._queue: dict[str, bool] = {}

    @property
    def sitting(self) -> set[str]:
        return {holder for host in self._hosts.values() for holder in host.taken.values()}

    @property
    def holders(self) -> set[str]:
        """Everybody who sits or waits."""
        return self.sitting | set(self._queue)

    def keep_hosts(self, living: Collection[str]) -> None:
        """Give up the hosts that are gone; nobody sits there any more."""
        self._hosts = {name: host for name, host in self._hosts.items() if name in living}

    def queue(self, holder: str, *, to_be_measured: bool) -> None:
        """Ask for a seat; `take` it when it is there."""
        if self._place_of(holder) is None:
            self._queue[holder] = to_be_measured

    def take(self, holder: str) -> Place | None:
        """The holder's seat, unless there is none yet, or somebody who asked earlier can have it."""
        if (place := self._place_of(holder)) is not None:
            return place
        if not self._hosts:
            raise RuntimeError("no node is left to work on")
        # Whoever is compressed already goes first: a round waits for the last who joins it.
        for first, to_be_measured in sorted(self._queue.items(), key=lambda asked: not asked[1]):
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
        if host is not None and not (host.round and holder in host.round.members):
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

    def done(self, holder: str, turn: Turn, tokens_per_second: float | None) -> None:
        """The holder's turn has ended; said twice it counts once."""
        host = self._host_of(holder)
        if host and host.round:
            host.round.done(holder, turn, tokens_per_second)
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

    def _place_of(self, holder: str) -> Place | None:
        taken = ((name, seat, other) for name, host in self._hosts.items() for seat, other in host.taken.items())
        return next((Place(name, seat) for name, seat, other in taken if other == holder), None)

    def _host_of(self, holder: str) -> _Host | None:
        return next((host for host in self._hosts.values() if holder in host.taken.values()), None)

    def _open_rounds(self) -> None:
        for host in self._hosts.values():
            if host.round and not host.round.members:
                host.round = None
            working = set(host.taken.values()) - set(host.ready)
            if host.round is None and host.ready and not working and not self._may_still_come(host):
                host.round, host.ready = Round(host.ready, together=host.seats.together, seen=host.seen), {}

    def _may_still_come(self, host: _Host) -> bool:
        """Whether somebody who would be measured too waits for a seat that is free on this host."""
        return host.free is not None and any(self._queue.values())
