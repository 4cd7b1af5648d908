"""Which CPU cores engines compute on, and which are left to the clients that load them."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from configs.load import Load
from configs.serving import Serving

SIDE_BY_SIDE = 2
"""Engines that a round wants up at once: the baseline and one compressed variant."""


@dataclass(frozen=True)
class DeviceSlots:
    """Places for engines, side by side. On GPUs the cores are left to the kernel and the lists empty."""

    engines: tuple[tuple[int, ...], ...]
    clients: tuple[tuple[int, ...], ...]
    """For each engine, the cores of the clients that load it."""
    together: bool
    """Whether engines may be loaded at the same time: each has cores or GPUs of its own, and so have
    the clients."""
    gpus_each: float = 0.0
    """GPUs of one place; 0 on a CPU."""

    def taken_by(self, gpus: float) -> int:
        """Places of whoever holds so many GPUs."""
        return max(1, math.ceil(gpus / self.gpus_each - 1e-9)) if self.gpus_each else 1


def cpu_slots(cores: list[int], serving: Serving, loads: Collection[Load]) -> DeviceSlots:
    """Split a machine's cores. Every engine gets the same number, whoever sits beside it, and whichever load it is
    put under.

    Where the clients cannot have cores of their own, engines are benchmarked in turn and the clients
    compute on the cores of the engine that rests.
    """
    client_cores = max(load.client_cores for load in loads)
    share = max(1, (len(cores) - client_cores) // SIDE_BY_SIDE)
    each = min(serving.cores or share, len(cores))
    count = SIDE_BY_SIDE if len(cores) >= SIDE_BY_SIDE * each else 1
    engines = tuple(tuple(cores[i * each : (i + 1) * each]) for i in range(count))
    left = tuple(cores[count * each :])
    together = _colocation_allowed(loads) and len(left) >= client_cores and count > 1
    if together:
        return DeviceSlots(engines, (left,) * count, together=True)
    clients = tuple(tuple(c for c in cores if c not in engine) for engine in engines)
    return DeviceSlots(engines, clients, together=False)


def gpu_slots(gpus: int, servings: Collection[Serving], loads: Collection[Load]) -> DeviceSlots:
    """As many GPUs a place as divide every engine's, so that engines of different sizes take several; or several places
    on each GPU that engines share: those are loaded one after the other.

    Args:
        servings: of all engines; they have the same `gpu_share`.
    """
    share = min(serving.gpu_share for serving in servings)
    each = math.gcd(*(serving.tensor_parallel_size for serving in servings))
    count = max(1, gpus // each * int(1 / share + 1e-9))
    together = _colocation_allowed(loads) and count > 1 and share == 1
    return DeviceSlots(((),) * count, ((),) * count, together=together, gpus_each=each * share)


def _colocation_allowed(loads: Collection[Load]) -> bool:
    """One stay on a slot is for all loads, so one that wants to be alone keeps the others alone too."""
    return all(load.colocate == "auto" for load in loads)
