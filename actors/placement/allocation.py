"""Allocation of device slots, and when a host is measured. Plain state, without Ray or time.

A slot is a share of a host: cores, or GPUs. Whatever computes holds some, quantizers and engines alike, so that nothing
waits for a device while it holds another: an engine over several GPUs takes as many slots as it needs, and a variant
that is benchmarked in turn with the baseline takes those of both at once, where a host has them. A host is either at
work or being measured: a round opens when every holder of a slot there is ready for it, and while it lasts nobody else
gets one (`actors.placement.rounds`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from actors.placement.rounds import Member, Round, Seen, Turn
from actors.placement.slots import DeviceSlots


@dataclass(frozen=True)
class Slot:
    """The place of an engine on a host, or two for a variant and the baseline beside it."""

    host: str
    """The id of its node."""
    index: int
    """Of the first of its slots, among those of its host."""
    beside: int | None = None
    """The same of the second engine."""

    @property
    def indices(self) -> tuple[int, ...]:
        return (self.index,) if self.beside is None else (self.index, self.beside)

    def at(self, index: int) -> "Slot":
        """One place of the same host."""
        return Slot(self.host, index)


@dataclass
class _Host:
    slots: DeviceSlots
    taken: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    """By holder the slots of each of its engines."""
    ready: dict[str, Member] = field(default_factory=dict)
    round: Round | None = None
    seen: Seen = field(default_factory=dict)

    @property
    def free(self) -> list[int]:
        taken = {slot for engines in self.taken.values() for slots in engines for slot in slots}
        return [slot for slot in range(len(self.slots.engines)) if slot not in taken]

    def seat(self, holder: str, sizes: Sequence[int]) -> None:
        """Give each engine of a holder so many of the free slots."""
        free = iter(self.free)
        self.taken[holder] = tuple(tuple(islice(free, size)) for size in sizes)


@dataclass(frozen=True)
class _Wish:
    """What somebody waits for."""

    to_be_measured: bool
    sizes: tuple[int, ...]
    """Slots of each engine."""

    @property
    def slots(self) -> int:
        return sum(self.sizes)


class SlotAllocation:
    """All hosts, all holders of slots, and everybody who waits for one: those who will be measured before
    those who only work, else in the order of asking."""

    def __init__(self, hosts: Mapping[str, DeviceSlots]) -> None:
        self._hosts = {name: _Host(slots) for name, slots in hosts.items()}
        self._queue: dict[str, _Wish] = {}

    @property
    def holding(self) -> set[str]:
        return {holder for host in self._hosts.values() for holder in host.taken}

    @property
    def holders(self) -> set[str]:
        """Everybody who holds a slot or waits for one."""
        return self.holding | set(self._queue)

    def keep_hosts(self, living: Collection[str]) -> None:
        """Give up the hosts that are gone; nobody holds a slot there any more."""
        self._hosts = {name: host for name, host in self._hosts.items() if name in living}

    def queue(self, holder: str, *, to_be_measured: bool, sizes: tuple[int, ...] = (1,)) -> None:
        """Ask for the slots of one engine, or of two on the same host; `take` them when they are there."""
        if self._slot_of(holder) is None:
            self._queue[holder] = _Wish(to_be_measured, sizes)

    def take(self, holder: str) -> Slot | None:
        """The holder's place, unless none is free yet, or an earlier wish can be fulfilled.

        Who wants several slots where no host has them free keeps the host with most free ones for itself, or small
        wishes would be fulfilled before it for ever.
        """
        if (slot := self._slot_of(holder)) is not None:
            return slot
        if not self._hosts:
            raise RuntimeError("no node is left to work on")
        for first, wish, fitting in self._waiting():
            if fitting and first != holder:
                return None
            if fitting:
                del self._queue[holder]
                self._hosts[fitting[0]].seat(holder, wish.sizes)
                self._open_rounds()
                return self._slot_of(holder)
        return None

    def _waiting(self) -> Iterator[tuple[str, _Wish, list[str]]]:
        """Everybody who waits, in order, with the hosts where each could sit down now."""
        kept: set[str] = set()
        # Whoever is compressed already goes first: a round waits for the last who joins it.
        for holder, wish in sorted(self._queue.items(), key=lambda item: not item[1].to_be_measured):
            open_to = self._open_to(wish, kept)
            fitting = [name for name in open_to if len(self._hosts[name].free) >= wish.slots]
            if not fitting:
                kept |= set(open_to[:1])
            yield holder, wish, fitting

    def _open_to(self, wish: _Wish, kept: Collection[str]) -> list[str]:
        """Hosts that take one more, those with most free slots first: none that is being measured or kept, and where
        somebody waits for that, only those who will be measured with it."""
        hosts = [
            (len(host.free), name)
            for name, host in self._hosts.items()
            if name not in kept
            and host.round is None
            and (wish.to_be_measured or not host.ready)
            and (host.free or wish.slots > 1)
            and len(host.slots.engines) >= wish.slots
        ]
        return [name for _, name in sorted(hosts, key=lambda pair: pair[0], reverse=True)]

    def ready(self, holder: str, member: Member) -> None:
        """A holder of a slot is ready to be measured; a round opens when nobody on its host works any more."""
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
        """Give up a slot, or the wish for one."""
        self._queue.pop(holder, None)
        for host in self._hosts.values():
            host.taken.pop(holder, None)
            host.ready.pop(holder, None)
            if host.round:
                host.round.drop(holder)
        self._open_rounds()

    def _slot_of(self, holder: str) -> Slot | None:
        for name, host in self._hosts.items():
            if engines := host.taken.get(holder):
                return Slot(name, *(slots[0] for slots in engines))
        return None

    def _host_of(self, holder: str) -> _Host | None:
        return next((host for host in self._hosts.values() if holder in host.taken), None)

    def _open_rounds(self) -> None:
        for name, host in self._hosts.items():
            if host.round and not host.round.members:
                host.round = None
            working = set(host.taken) - set(host.ready)
            if host.round is None and host.ready and not working and not self._may_still_come(name):
                host.round, host.ready = Round(host.ready, together=host.slots.together, seen=host.seen), {}

    def _may_still_come(self, host: str) -> bool:
        """Whether somebody who would be measured too could sit down on a host now: nobody can while it is kept for who
        wants more slots than are free."""
        return any(wish.to_be_measured and host in fitting for _, wish, fitting in self._waiting())
