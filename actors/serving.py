"""A variant's deployment, held like any other lease: up inside the block, provably gone after it."""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle

from actors import processes
from actors.conductor import claimed
from actors.lease import Needs, lease, on_node, prove_ended
from actors.server import Server


@dataclass(frozen=True)
class Deployment:
    """A served variant. `url` has no /v1; `model` is the name that requests give."""

    url: str
    model: str
    lease: str
    node: str
    cores: tuple[int, ...]


@contextlib.contextmanager
def serving_host(conductor: Any) -> Iterator[ActorHandle[Any]]:
    """The actor that deploys variants; with it goes Serve itself, where nothing is served any more.

    It imports vLLM while whoever asked for it goes on.
    """
    with lease(Server, Needs(), concurrency=64, restarts=3) as server:
        server.warm_up.remote()
        try:
            yield server
        finally:
            with serve_in_hand(conductor):
                ray.get(server.close.remote())


def serve_in_hand(conductor: Any) -> AbstractContextManager[None]:
    """Nobody else on the cluster ends Serve, or puts the first application on it, inside the block."""
    return claimed(conductor, "Serve")


@contextlib.contextmanager
def deployed(
    conductor: Any,
    server: ActorHandle[Any],
    name: str,
    checkpoint: str,
    *,
    node: str,
    engine: dict[str, Any],
    cores: tuple[int, ...],
    kv_cache_gib: int,
    gpus: float,
    host: str,
    port: int,
) -> Iterator[Deployment]:
    """A checkpoint's deployment until the block ends. It starts inside the block: `await_ready`.

    What somebody who died left behind under the same name is ended first.

    Args:
        node: the id of the node that the engine runs on.
        cores: what the engine's compute threads are bound to, on a CPU; empty with GPUs.
    """
    mark = mark_of(name)
    settings = {
        "engine": engine,
        "variables": cpu_engine_variables(cores, kv_cache_gib) if cores else {},
        "cores": len(cores),
        "gpus": gpus,
        "node": next(n["NodeManagerAddress"] for n in ray.nodes() if n["NodeID"] == node),
        "host": host,
        "port": port,
    }
    end_deployment(server, name, [node])
    try:
        with serve_in_hand(conductor):
            submitted: Any = server.submit.remote(name, checkpoint, mark, settings)
            address: str = ray.get(submitted)
        yield Deployment(url=f"{address}/{name}", model=name, lease=mark, node=node, cores=cores)
    finally:
        end_deployment(server, name, [node], patience_s=10)


def mark_of(name: str) -> str:
    """The lease of a deployment, by its name: so that anybody can end it, also when who held it is dead."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def end_deployment(server: ActorHandle[Any], name: str, nodes: list[str], patience_s: float = 0) -> None:
    """Delete an application and end its processes on some nodes; nothing where there is none."""
    ray.get(server.remove.remote(name))
    for node in nodes:
        prove_ended(mark_of(name), node, patience_s)


def await_ready(server: ActorHandle[Any], deployment: Deployment, timeout_s: float) -> dict[str, Any]:
    """Wait until a deployment answers; return seconds waited, number of processes, their memory
    (proportional set size, bytes), and the kernels and KV cache that the engine says it uses.

    Raises:
        ray.exceptions.RayError: it did not come up, or not within `timeout_s`.
    """
    waited: Any = server.wait.remote(deployment.model, timeout_s)
    seconds: float = ray.get(waited)
    settled: dict[str, Any] = on_node(deployment.node, settle, deployment.lease, list(deployment.cores))
    return {"seconds": seconds, **settled}


def settle(lease: str, bound_cores: list[int]) -> dict[str, Any]:
    """Move all but an engine's compute threads off its cores; return its processes, their memory in bytes,
    and what its log tells. It runs on the engine's node."""
    if bound_cores:
        processes.keep_off(lease, bound_cores)
    members = processes.of_lease(lease)
    log = "\n".join(file.read_text(errors="replace") for file in processes.outputs(members))
    return {"processes": len(members), "memory_bytes": processes.memory_bytes(members), **told(log)}


def told(log: str) -> dict[str, Any]:
    """What vLLM's own log says it uses: kernels by what they serve, and tokens that its KV cache holds.

    Returns:
        `kernels` (empty where it names none) and `kv_cache_tokens` (None where it does not say).
    """
    kernels = {served: kernel for kernel, served in re.findall(r"Using (\w*[Kk]ernel\w*) for (\w+)", log)}
    sizes = re.findall(r"KV cache size: ([\d,]+) tokens", log)
    return {"kernels": kernels, "kv_cache_tokens": int(sizes[-1].replace(",", "")) if sizes else None}


def cpu_engine_variables(cores: tuple[int, ...], kv_cache_gib: int) -> dict[str, str]:
    """What vLLM reads on a CPU: the cores of its compute threads, and the size of its KV cache.

    Left to itself it keeps one core back, which on two cores leaves one. Even in eager mode it
    compiles two small functions at the first request, and dies of it where there is no C++ compiler;
    there they are interpreted (0.24 ms instead of 0.01 for the log-probability of a token).
    """
    uncompiled = {} if shutil.which(os.environ.get("CXX", "g++")) else {"TORCHDYNAMO_DISABLE": "1"}
    bound = {"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores))}
    return uncompiled | bound | unbound_engine_variables(kv_cache_gib)


def unbound_engine_variables(kv_cache_gib: int) -> dict[str, str]:
    """Those of them that do not depend on the cores: the size of the KV cache, and 16-bit activations for 4-bit
    weights. With AMX vLLM would round them to 8 bits, which no W4A16 checkpoint asks for: 0.38 nats a token were
    measured then, and 0.05 without."""
    return {"VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib), "VLLM_CPU_INT4_W4A8": "0"}
