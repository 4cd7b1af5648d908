"""A variant's deployment, held like any other lease: up inside the block, provably gone after it."""

import contextlib
import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.actor import ActorHandle

from actors.artifacts import EngineReport, EngineSpec
from actors.placement import processes
from actors.placement.coordinator import claimed
from actors.placement.lease import Needs, lease, on_node, prove_ended
from actors.programs import vllm_server
from actors.server import Server

LOOPBACK = "127.0.0.1"
"""Where the engine of a run listens: whoever asks it works on its node."""


@dataclass(frozen=True)
class Deployment:
    """A variant that is served, or about to be. `model` is the name that requests give."""

    model: str
    lease: str
    node: str
    cores: tuple[int, ...]
    key: str = field(repr=False)
    """What it asks for."""


@contextlib.contextmanager
def serving_host(coordinator: Any) -> Iterator[ActorHandle[Any]]:
    """The actor that deploys variants; with it goes Serve itself, where nothing is served any more."""
    with lease(Server, Needs(), concurrency=64, restarts=3) as server:
        try:
            yield server
        finally:
            with serve_in_hand(coordinator):
                ray.get(server.close.remote())


def serve_in_hand(coordinator: Any) -> AbstractContextManager[None]:
    """Nobody else on the cluster ends Serve, or puts the first application on it, inside the block."""
    return claimed(coordinator, "Serve")


@contextlib.contextmanager
def deployed(
    coordinator: Any, server: ActorHandle[Any], spec: EngineSpec, *, node: str, cores: tuple[int, ...]
) -> Iterator[Deployment]:
    """An engine until the block ends. It starts inside the block: `await_ready`.

    What somebody who died left behind under the same name is ended first.

    Args:
        node: the id of the node that it runs on.
        cores: what its compute threads are bound to, on a CPU; empty with GPUs.
    """
    address = next(n["NodeManagerAddress"] for n in ray.nodes() if n["NodeID"] == node)
    end_deployment(server, spec.model, [node])
    try:
        with serve_in_hand(coordinator):
            submitted: Any = server.submit.remote(spec, address)
            ray.get(submitted)
        yield Deployment(model=spec.model, lease=spec.lease, node=node, cores=cores, key=spec.key or "")
    finally:
        end_deployment(server, spec.model, [node], patience_s=10)


def mark_of(name: str) -> str:
    """The lease of a deployment, by its name: so that anybody can end it, also when who held it is dead."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def end_deployment(server: ActorHandle[Any], name: str, nodes: list[str], patience_s: float = 0) -> None:
    """Delete an application and end its processes on some nodes; nothing where there is none."""
    ray.get(server.remove.remote(name))
    for node in nodes:
        prove_ended(mark_of(name), node, patience_s)


def await_ready(server: ActorHandle[Any], deployment: Deployment, timeout_s: float) -> tuple[str, EngineReport]:
    """Wait until a deployment answers; return its address on its node, without /v1, and what its engine is seen to be.

    Raises:
        ray.exceptions.RayError: it did not come up, or not within `timeout_s`.
    """
    waited: Any = server.wait.remote(deployment.model, timeout_s)
    url, seconds = ray.get(waited)
    report: EngineReport = on_node(deployment.node, _report, deployment.lease, list(deployment.cores), seconds)
    gpus: Any = server.gpus.remote(deployment.model)
    return url, replace(report, gpus=ray.get(gpus) or None)


def check_up(server: ActorHandle[Any], deployment: Deployment, url: str) -> None:
    """Check that the engine that answers is still the one that was started.

    Raises:
        EngineLost: it died meanwhile, and Serve started another one.
    """
    ref: Any = server.url.remote(deployment.model)
    if (now := ray.get(ref)) != url:
        raise EngineLost(f"the engine of {deployment.model} died; another one was started at {now}")


class EngineLost(RuntimeError):
    """An engine died during its requests."""


def settle(lease: str, bound_cores: list[int]) -> None:
    """Move all but an engine's compute threads off its cores. It runs on the engine's node, as `_report` does."""
    if bound_cores:
        processes.keep_off(lease, bound_cores)


def _report(lease: str, bound_cores: list[int], seconds: float) -> EngineReport:
    """An engine that is up after so many seconds, and settled."""
    settle(lease, bound_cores)
    members = processes.of_lease(lease)
    log = "\n".join(file.read_text(errors="replace") for file in processes.outputs(members))
    kernels, kv_cache_tokens = vllm_server.kernels_and_kv_cache(log)
    return EngineReport(
        seconds=seconds,
        processes=len(members),
        memory_bytes=processes.memory_bytes(members),
        kernels=kernels,
        kv_cache_tokens=kv_cache_tokens,
    )
