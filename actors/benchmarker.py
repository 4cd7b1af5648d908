"""The actor that loads a served variant. It runs in the `inference` environment and holds no device."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

from actors import processes

REQUESTS = "requests.jsonl"
"""In a benchmark's folder: one line for each request of every point."""


class Benchmarker:
    """Runs GuideLLM, one client process on the cores that are given."""

    def __init__(self) -> None:
        """One that comes back, after it crashed or was stuck, ends the clients that it left."""
        processes.end(os.environ[processes.LEASE_MARK], patience_s=0)

    def benchmark(self, *, cores: list[int], destination: str, **settings: Any) -> list[float]:
        """Put every point of a load on a variant; see `actors.engines.guidellm.benchmark`.

        Args:
            cores: CPU cores of the clients; empty to leave them to the kernel.
        """
        os.environ["GUIDELLM__MAX_WORKER_PROCESSES"] = str(max(1, len(cores)))
        # GuideLLM starts new processes for every point: forked from one that has the imports behind it.
        os.environ["GUIDELLM__MP_CONTEXT_TYPE"] = "forkserver"
        multiprocessing.set_forkserver_preload(["guidellm.scheduler"])
        if cores:
            processes.keep_on(os.environ[processes.LEASE_MARK], cores)
        from actors.engines import guidellm

        return guidellm.benchmark(destination=Path(destination), **settings)
