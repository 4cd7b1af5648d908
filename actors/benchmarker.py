"""The actor that loads a served variant. It runs in the `inference` environment and holds no device."""

import os
from pathlib import Path
from typing import Any


class Benchmarker:
    """Runs GuideLLM, one client process on the cores that are given."""

    def benchmark(self, *, cores: list[int], destination: str, **settings: Any) -> list[dict[str, Any]]:
        """Measure every point of a load; see `actors.engines.guidellm.benchmark`.

        Args:
            cores: CPU cores of the clients; empty to leave them to the kernel.
        """
        os.environ["GUIDELLM__MAX_WORKER_PROCESSES"] = str(max(1, len(cores)))
        if cores:
            os.sched_setaffinity(0, cores)
        from actors.engines import guidellm

        return guidellm.benchmark(destination=Path(destination), **settings)
