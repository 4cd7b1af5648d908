"""The actor that loads a served variant. It runs in the `inference` environment and holds no device."""

import multiprocessing
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from actors.artifacts import Window
from actors.placement import processes
from actors.programs import cpu_time, energy

_MOST_WORKERS = 10
"""Client processes that send requests. GuideLLM's own limit: one more process hands the requests out."""


class Benchmarker:
    """Runs GuideLLM with as many client processes as it has cores; a point with fewer clients gets one for each."""

    def __init__(self) -> None:
        """One that comes back, after it crashed or was stuck, ends the clients that it left."""
        processes.end(os.environ[processes.LEASE_MARK], patience_s=0)

    def benchmark(
        self, *, cores: list[int], destination: str, gpus: Sequence[str] = (), **settings: Any
    ) -> list[Window]:
        """Put every point of a load on a variant; see `actors.engines.guidellm.benchmark`.

        Args:
            cores: CPU cores of the clients; empty to leave them to the kernel.
            gpus: UUIDs of those whose energy is the engine's.
        """
        os.environ["GUIDELLM__MAX_WORKER_PROCESSES"] = str(_workers(cores))
        # GuideLLM starts new processes for every point: forked from one that has the imports behind it.
        os.environ["GUIDELLM__MP_CONTEXT_TYPE"] = "forkserver"
        multiprocessing.set_forkserver_preload(["guidellm.scheduler"])
        if cores:
            processes.keep_on(os.environ[processes.LEASE_MARK], cores)
        from actors.engines import guidellm

        with cpu_time.watched() as used, energy.watched(_counter(gpus)) as taken:
            spans = guidellm.benchmark(destination=Path(destination), **settings)
        return [Window(start, end, used.share(start, end), taken.joules(start, end)) for start, end in spans]

    def idle_power_w(self, gpus: Sequence[str]) -> float | None:
        """Watts of an engine's GPUs together while nobody asks it anything; None where they do not tell."""
        counter = _counter(gpus)
        return energy.idle_power_w(counter) if counter else None


def _counter(gpus: Sequence[str]) -> energy.Counter | None:
    """Of the energy of some GPUs together."""
    if not gpus:
        return None
    from actors.engines import nvml

    return partial(nvml.energy_j, gpus)


def _workers(cores: list[int]) -> int:
    """Client processes on these cores, or on all that this process may use."""
    return min(len(cores) or len(os.sched_getaffinity(0)), _MOST_WORKERS)
