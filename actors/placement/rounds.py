"""Whose turn it is to be loaded, of those who are measured together on a host. Plain state, without Ray or time.

The turns are given one after the other, or to all at the same time where co-location was seen to cost little. What a
benchmark is stays its member's business: here it is a number.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from actors.artifacts import Interference


@dataclass(frozen=True)
class Turn:
    """What a member of a round does next: one of its benchmarks, or one that goes into no record."""

    benchmark: int
    """Its index among those of the member."""
    probe: bool = False
    """Only to see how fast the member is, alone or co-located."""
    colocated: tuple[str, ...] = ()
    """Names of all engines that are loaded at the same time; empty where one is loaded after the other."""
    interference: Interference | None = None
    """What co-location was seen to cost the first member, where that was measured."""
    number: int = 0
    """Of the batches of its round."""


@dataclass(frozen=True)
class Series:
    """Benchmarks under the same load, which follow each other."""

    missing: tuple[int, ...]
    """Indexes of those that have no record yet."""
    max_interference: float


@dataclass(frozen=True)
class Member:
    """Somebody who is ready to be measured: a variant, mostly with the baseline beside it."""

    name: str
    series: tuple[Series, ...]
    """One for each load, in the same order for all members."""
    experiment: str = ""
    beside: tuple[str, ...] = ()
    """Names of further engines of its own, loaded in its turns."""

    @property
    def engines(self) -> tuple[str, ...]:
        return (self.name, *self.beside)


_Colocation = tuple[frozenset[str], int, int]
"""Of which experiments, under which of their loads, and how many engines."""
Seen = dict[_Colocation, Interference]
"""What co-location was seen to cost on a host."""
_Turns = dict[str, Turn]


class Round:
    """The turns of those who are measured together. Turns come in batches: the next batch is given out
    when the last is done. Who goes first changes from benchmark to benchmark, so that what drifts on the
    machine favours nobody. what co-location costs depends on the load, so every series has its own probes: the
    first engine alone, then all at once. They hold for as many of the same experiments on the same host."""

    def __init__(self, members: Mapping[str, Member], *, together: bool, seen: Seen | None = None) -> None:
        self.members = dict(members)
        self._together = together
        self._seen: Seen = {} if seen is None else seen
        self._place = -1
        """Of the series under way."""
        self._colocation: _Colocation | None = None
        """Who might be loaded together in it; None for one after the other."""
        self._batches: list[_Turns] = []
        self._given = 0
        self._now: _Turns = {}
        """The turns of the latest batch that are not done."""
        self._probes: list[dict[str, float]] = []
        """Output tokens per second of the first engine alone, then of every member's first co-located."""
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
            self._judge_colocation()
            self._batches = self._benchmarks()
            return True
        self._place += 1
        if self._place >= max(len(member.series) for member in self.members.values()):
            return False
        present = self._present()
        experiments = frozenset(self.members[holder].experiment for holder in present)
        names = self._names(present)
        self._colocation = (experiments, self._place, len(names)) if self._together and len(names) > 1 else None
        if self._colocation is None or self._colocation in self._seen:
            self._batches = self._benchmarks()
        else:
            probes = {holder: Turn(series.missing[0], probe=True) for holder, series in present.items()}
            crowd = {holder: replace(turn, colocated=names) for holder, turn in probes.items()}
            self._batches = [dict([next(iter(probes.items()))]), crowd]
        return True

    def _names(self, holders: Collection[str]) -> tuple[str, ...]:
        """Of the engines of some members."""
        return tuple(name for holder in holders for name in self.members[holder].engines)

    def _present(self) -> dict[str, Series]:
        """The series under way of those who miss something of it."""
        return {
            holder: member.series[self._place]
            for holder, member in self.members.items()
            if len(member.series) > self._place and member.series[self._place].missing
        }

    def _judge_colocation(self) -> None:
        (alone, crowd), self._probes = self._probes, []
        first = next((holder for holder in alone if holder in self.members), None)
        if self._colocation is None or first is None or first not in crowd:
            self._colocation = None
            return
        self._seen[self._colocation] = Interference(
            variant=self.members[first].name,
            alone=alone[first],
            in_company=crowd[first],
            loss=1 - crowd[first] / alone[first],
            limit=self.members[first].series[self._place].max_interference,
        )

    def _benchmarks(self) -> list[_Turns]:
        """What is missing of the series under way."""
        present = self._present()
        interference = self._seen[self._colocation] if self._colocation else None
        together = interference is not None and interference.loss <= interference.limit
        colocated = self._names(present) if together else ()
        batches: list[_Turns] = []
        for benchmark in sorted({missing for series in present.values() for missing in series.missing}):
            waiting = [holder for holder, series in present.items() if benchmark in series.missing]
            turn = Turn(benchmark, colocated=colocated, interference=interference)
            if together:
                batches.append(dict.fromkeys(waiting, turn))
            else:
                batches += [{holder: turn} for holder in (waiting if benchmark % 2 == 0 else waiting[::-1])]
        return batches
