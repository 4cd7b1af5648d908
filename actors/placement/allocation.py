"""Who sits where, and when a host is measured. Plain state, without Ray or time.

A seat is a share of a host: cores, or GPUs. Whatever computes sits on one, quantizers and engines
alike, so that nothing waits for a device while it holds another; a variant that is loaded in turn with the base takes
two at once, where a host has two. A host is either at work or being
measured: a round opens when everybody who sits there is ready for it, and while it lasts nobody else
sits down (`actors.placement.rounds`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from actors.placement.rounds import Member, Round, Seen, Turn
from actors.placement.slots import Seats


@dataclass(frozen=True)
class Place:
    """A seat on a host, or two for a variant and the base beside it."""

    host: str
    seat: int
    beside: int | None = None

    @property
    def seats(self) -> tuple[int, ...]:
        return (self.seat,) if self.beside is None else (self.seat, self.beside)

    def at(self, seat: int) -> "Place":
        """One seat of the same host."""
        return Place(self.host, seat)


@dataclass
class _Host:
    seats: Seats
    taken: dict[int, str] = field(default_factory=dict)
    ready: dict[str, Member] = field(default_factory=dict)
    round: Round | None = None
    seen: Seen = field(default_factory=dict)

    @property
    def free(self) -> list[int]:
        return [seat for seat in range(len(self.seats.engines)) if seat not in self.taken]


@dataclass(frozen=True)
class _Wish:
    """What somebody waits for."""

    to_be_measured: bool
    seats: int


class Seating:
    """All hosts, everybody who sits, and everybody who waits for a seat: those who will be measured before
    those who only work, else in the order of asking."""

    def __init__(self, hosts: Mapping[str, Seats]) -> None:
        self._hosts = {name: _Host(seats) for name, seats in hosts.items()}
        self._queue: dict[str, _Wish] = {}

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

    def queue(self, holder: str, *, to_be_measured: bool, seats: int = 1) -> None:
        """Ask for a seat, or for two on the same host; `take` them when they are there."""
        if self._place_of(holder) is None:
            self._queue[holder] = _Wish(to_be_measured, seats)

    def take(self, holder: str) -> Place | None:
        """The holder's place, unless there is none yet, or somebody who asked earlier can have it.

        Who wants two seats where no host has them free keeps the host with most free ones for itself, or small
        wishes would be fulfilled before it for ever.
        """
        if (place := self._place_of(holder)) is not None:
            return place
        if not self._hosts:
            raise RuntimeError("no node is left to work on")
        kept: set[str] = set()
        # Whoever is compressed already goes first: a round waits for the last who joins it.
        for first, wish in sorted(self._queue.items(), key=lambda asked: not asked[1].to_be_measured):
            open_to = self._open_to(wish, kept)
            found = next((name for name in open_to if len(self._hosts[name].free) >= wish.seats), None)
            if found is None:
                kept |= set(open_to[:1])
                continue
            if first != holder:
                return None
            del self._queue[holder]
            host = self._hosts[found]
            host.taken |= dict.fromkeys(host.free[: wish.seats], holder)
            return self._place_of(holder)
        return None

    def _open_to(self, wish: _Wish, kept: Collection[str]) -> list[str]:
        """Hosts that take one more, those with most free seats first: none that is being measured or kept, and where
        somebody waits for that, only those who will be measured with it."""
        hosts = [
            (len(host.free), name)
            for name, host in self._hosts.items()
            if name not in kept
            and host.round is None
            and (wish.to_be_measured or not host.ready)
            and (host.free or wish.seats > 1)
            and len(host.seats.engines) >= wish.seats
        ]
        return [name for _, name in sorted(hosts, key=lambda found: found[0], reverse=True)]

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
        for name, host in self._hosts.items():
            if seats := sorted(seat for seat, other in host.taken.items() if other == holder):
                return Place(name, *seats)
        return None

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
        """Whether somebody who would be measured too waits for seats that are free on this host."""
        return any(wish.to_be_measured and wish.seats <= len(host.free) for wish in self._queue.values())
