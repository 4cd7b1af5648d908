"""The one actor that says who may work where, for every experiment on a cluster.

It hands out slots and turns (`actors.placement.allocation`), and claims: a step that two want is done by the one who
claimed it, while the other waits. Whoever dies loses what it held: its slot, its turn, its claims. Should the
coordinator itself die, it comes back with what it knew: everything stands in the cluster's own key-value store
before the answer, and every call may come twice.
"""

import asyncio
import contextlib
import pickle
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import ray
from ray._private import state as cluster_state
from ray.experimental import internal_kv

from actors.placement.allocation import Slot, SlotAllocation
from actors.placement.rounds import Member, Turn
from actors.placement.slots import DeviceSlots

_NAME, _NAMESPACE = "coordinator", "model-serve-flow"
_LOOK_S = 2.0
"""Between two looks at who is still alive."""
_KEY = b"coordinator"
Occupant = tuple[str, str]
"""For whom a slot is held: an experiment, and its variant."""
_State = tuple[SlotAllocation, DeviceSlots | None, dict[str, str], dict[str, Occupant]]
_T = TypeVar("_T")
_AT_ONCE_S = 1.0
"""Within which a slot is there that is free."""


class Coordinator:
    """Every call that waits is answered when what it waits for has come. A holder is known by its id: an
    actor's, or a driver's job's."""

    def __init__(self) -> None:
        self._allocation, self._shape, self._claims, self._occupants = _remembered() or (
            SlotAllocation({}),
            None,
            {},
            {},
        )
        self._changed = asyncio.Condition()
        self._watch: asyncio.Task[None] | None = None

    async def open(self, nodes: list[str], shape: DeviceSlots) -> DeviceSlots:
        """Offer slots of one shape on some nodes; return the shape that holds while others are at work."""
        async with self._changed:
            if self._shape is None or not self._allocation.holders:
                self._shape, self._allocation = shape, SlotAllocation(dict.fromkeys(nodes, shape))
            self._tell()
            return self._shape

    async def take(self, holder: str, occupant: Occupant, *, to_be_measured: bool, sizes: tuple[int, ...]) -> Slot:
        """So many slots for each engine, on the same host, in the order of asking.

        Raises:
            RuntimeError: no node is left that has any.
        """
        _, nodes = await asyncio.to_thread(_living)
        self._allocation.keep_hosts(nodes)
        self._occupants[holder] = occupant
        self._allocation.queue(holder, to_be_measured=to_be_measured, sizes=sizes)
        return await self._when(lambda: self._allocation.take(holder))

    async def occupants(self) -> list[Occupant]:
        """For whom the slots are held that are taken."""
        return sorted(self._occupants[holder] for holder in self._allocation.holding)

    async def ready(self, holder: str, member: Member) -> None:
        """Wait for a round with the others on the same host."""
        async with self._changed:
            self._allocation.ready(holder, member)
            self._tell()

    async def next_turn(self, holder: str) -> Turn | None:
        """The next turn of a holder that is ready; None when its round is over."""
        outcome = await self._when(lambda: self._allocation.turn(holder) or self._allocation.measured(holder))
        return outcome if isinstance(outcome, Turn) else None

    async def done(self, holder: str, turn: Turn, tokens_per_second: float | None) -> None:
        """A turn has ended; without a speed it failed."""
        async with self._changed:
            self._allocation.done(holder, turn, tokens_per_second)
            self._tell()

    async def leave(self, holder: str, *, to_be_measured_next: bool = False) -> None:
        """Give a slot back; whoever is to be measured next asks for another in the same moment, before others who
        only work can have all slots."""
        async with self._changed:
            self._allocation.leave(holder)
            if to_be_measured_next:
                self._allocation.queue(holder, to_be_measured=True)
            self._tell()

    async def claim(self, holder: str, what: str) -> None:
        """Wait until nobody else does `what`; then it is the holder's until `release`."""

        def free() -> bool:
            return self._claims.setdefault(what, holder) == holder

        await self._when(free)

    async def release(self, holder: str, what: str) -> None:
        """Let others do it, or see that it is done."""
        async with self._changed:
            if self._claims.get(what) == holder:
                del self._claims[what]
            self._tell()

    async def _when(self, look: Callable[[], _T | None]) -> _T:
        """What `look` returns, as soon as that is true."""
        async with self._changed:
            while not (value := look()):
                await self._changed.wait()
            self._tell()
            return value

    def _tell(self) -> None:
        """Remember what has changed, and let everybody who waits look again."""
        self._occupants = {who: what for who, what in self._occupants.items() if who in self._allocation.holders}
        state: _State = (self._allocation, self._shape, self._claims, self._occupants)
        internal_kv._internal_kv_put(_KEY, pickle.dumps(state), namespace=_NAMESPACE.encode())
        self._changed.notify_all()
        self._watch = self._watch or asyncio.get_running_loop().create_task(self._bury_the_dead())

    async def _bury_the_dead(self) -> None:
        """Free what the dead held, and give up the slots of nodes that are gone."""
        while True:
            await asyncio.sleep(_LOOK_S)
            live, nodes = await asyncio.to_thread(_living)
            async with self._changed:
                for holder in (self._allocation.holders | set(self._claims.values())) - live:
                    self._allocation.leave(holder)
                    self._claims = {what: who for what, who in self._claims.items() if who != holder}
                self._allocation.keep_hosts(nodes)
                self._tell()


def _remembered() -> _State | None:
    """What the coordinator knew before it died."""
    kept = internal_kv._internal_kv_get(_KEY, namespace=_NAMESPACE.encode())
    return pickle.loads(kept) if kept else None


def _living() -> tuple[set[str], set[str]]:
    """Ids of all actors, jobs and nodes that live."""
    actors = set(cluster_state.actors(actor_state_name="ALIVE"))
    jobs = {job["JobID"] for job in cluster_state.jobs() if not job["IsDead"]}
    return actors | jobs, {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def coordinator(**options: Any) -> Any:
    """The cluster's coordinator; it is started by the first who asks.

    Args:
        options: of the actor where it has to be started, its runtime environment for example.
    """
    shared = {"name": _NAME, "namespace": _NAMESPACE, "get_if_exists": True, "lifetime": "detached"}
    kept_up = {"num_cpus": 0, "max_concurrency": 10_000, "max_restarts": -1, "max_task_retries": -1}
    return ray.remote(Coordinator).options(**shared, **kept_up, **options).remote()


@contextlib.contextmanager
def holding_slots(
    coordinator: Any,
    occupant: Occupant,
    waits: Callable[[list[Occupant]], None],
    *,
    to_be_measured: bool,
    to_be_measured_next: bool = False,
    sizes: tuple[int, ...] = (1,),
) -> Iterator[Slot]:
    """The place of an engine for the length of the block, or of two on the same host.

    Args:
        waits: called with those for whom the slots are held, where none is there at once.
        to_be_measured_next: whether the holder takes another slot, to be measured there, after a block that ended
            well. Others wait for it: it has to come, or to go away (`away_after`).
        sizes: slots of each engine.
    """
    holder, next_ = my_id(), False
    try:
        slot = coordinator.take.remote(holder, occupant, to_be_measured=to_be_measured, sizes=sizes)
        if not ray.wait([slot], timeout=_AT_ONCE_S)[0]:
            waits(ray.get(coordinator.occupants.remote()))
        yield ray.get(slot)
        next_ = to_be_measured_next
    finally:
        ray.get(coordinator.leave.remote(holder, to_be_measured_next=next_))


@contextlib.contextmanager
def away_after(coordinator: Any) -> Iterator[None]:
    """After the block the caller neither holds a slot nor waits for one."""
    try:
        yield
    finally:
        step_aside(coordinator)


def step_aside(coordinator: Any) -> None:
    """From now on the caller neither holds a slot nor waits for one."""
    ray.get(coordinator.leave.remote(my_id()))


@contextlib.contextmanager
def claimed(coordinator: Any, what: str) -> Iterator[None]:
    """Nobody else on the cluster does `what` inside the block."""
    holder = my_id()
    try:
        ray.get(coordinator.claim.remote(holder, what))
        yield
    finally:
        ray.get(coordinator.release.remote(holder, what))


def my_id() -> str:
    """Under which id the calling process holds slots and claims."""
    context = ray.get_runtime_context()
    return str(context.get_actor_id() or context.get_job_id())
