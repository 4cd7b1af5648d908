"""A variant's deployment, held like any other lease: up inside the block, provably gone after it."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle

from actors.lease import Needs, check_feasible, lease
from actors.server import Server


@dataclass(frozen=True)
class Deployment:
    """A served variant. `url` has no /v1; `model` is the name that requests give."""

    url: str
    model: str
    lease: str
    cores: tuple[int, ...]


@contextlib.contextmanager
def serving_host() -> Iterator[ActorHandle[Any]]:
    """The actor that deploys variants; with it goes Serve itself, where nothing is served any more.

    It imports vLLM while whoever asked for it goes on.
    """
    with lease(Server, Needs(), concurrency=8) as server:
        server.warm_up.remote()
        try:
            yield server
        finally:
            ray.get(server.close.remote())


@contextlib.contextmanager
def deployed(
    server: ActorHandle[Any],
    name: str,
    checkpoint: str,
    *,
    engine: dict[str, Any],
    cores: tuple[int, ...],
    kv_cache_gib: int,
    gpus: int,
    host: str,
    port: int,
) -> Iterator[Deployment]:
    """A checkpoint's deployment until the block ends. It starts inside the block: `await_ready`.

    Args:
        cores: what the engine's compute threads are bound to, on a CPU; empty with GPUs.
    """
    check_feasible(f"serving {name}", Needs(cores=len(cores), gpus=gpus))
    mark = uuid.uuid4().hex[:12]
    variables = cpu_engine_variables(cores, kv_cache_gib) if cores else {}
    settings = {
        "engine": engine,
        "variables": variables,
        "cores": len(cores),
        "gpus": gpus,
        "host": host,
        "port": port,
    }
    try:
        ray.get(server.submit.remote(name, checkpoint, mark, settings))
        yield Deployment(url=f"http://{host}:{port}/{name}", model=name, lease=mark, cores=cores)
    finally:
        ray.get(server.remove.remote(name, mark))


def await_ready(server: ActorHandle[Any], deployment: Deployment, timeout_s: float) -> dict[str, Any]:
    """Wait until a deployment answers; return seconds waited, number of processes, their memory
    (proportional set size, bytes), and the kernels and KV cache that the engine says it uses.

    Raises:
        ray.exceptions.RayError: it did not come up, or not within `timeout_s`.
    """
    waited: Any = server.wait.remote(deployment.model, deployment.lease, list(deployment.cores), timeout_s)
    report: dict[str, Any] = ray.get(waited)
    return report


def cpu_engine_variables(cores: tuple[int, ...], kv_cache_gib: int) -> dict[str, str]:
    """What vLLM reads on a CPU: the cores of its compute threads, and the size of its KV cache.

    Left to itself it keeps one core back, which on two cores leaves one. Even in eager mode it
    compiles two small functions at the first request, and dies of it where there is no C++ compiler;
    there they are interpreted (0.24 ms instead of 0.01 for the log-probability of a token).
    """
    uncompiled = {} if shutil.which(os.environ.get("CXX", "g++")) else {"TORCHDYNAMO_DISABLE": "1"}
    return uncompiled | {
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
        "VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib),
    }
