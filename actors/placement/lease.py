"""Holding an actor, and the devices under it, for the length of a `with` block.

A lease asks first whether the cluster can ever satisfy it, takes, yields, and gives back in the same
block, also after an error. After it no process that the actor started is alive: that is checked.
"""

import contextlib
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors import environments
from actors.placement import processes
from configs.base import REPOSITORY, UserError

_HUB = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_TOKEN_PATH",
)
_PASSED_ON = (*_HUB, "PIP_FIND_LINKS", "PIP_INDEX_URL", "MSF_ACCELERATOR", "PYTHONPATH")
"""Variables of the driver that an actor needs too. Secrets are not among them: HF_TOKEN comes from
the node's own environment or token file, as a runtime environment is shown in Ray's dashboard and written into its
log; so does an address that has a user's name and password in it."""
_WITH_PASSWORD = re.compile(r"://[^/@\s]*@")


_START_S = 60.0
"""Within which an actor that waits for nothing has started, or does not."""


@dataclass(frozen=True)
class Needs:
    """What a lease holds. An actor that only talks to others needs nothing."""

    cores: float = 0
    gpus: float = 0
    variables: dict[str, str] = field(default_factory=dict)
    """Environment variables of the actor and of all that it starts."""


class Infeasible(UserError):
    """The cluster, as it is, can never satisfy a lease."""


@contextlib.contextmanager
def lease(
    actor: type[Any], needs: Needs, *, node: str | None = None, concurrency: int = 1, restarts: int = 0
) -> Iterator[ActorHandle[Any]]:
    """An actor in its role's environment, with its devices, until the block ends. Devices are waited for; an actor
    without any starts inside the block, and answers calls once it is up.

    Args:
        node: the id of the node that it must run on; None for any.
        concurrency: calls that the actor answers at the same time, in threads.
        restarts: how often it comes back where it dies; the calls under way fail all the same.

    Raises:
        Infeasible: no node has that many cores or GPUs.
        EnvironmentMissing: the role's environment is not built.
    """
    check_feasible(actor.__name__, needs)
    identity = uuid.uuid4().hex[:12]
    options: dict[str, Any] = {
        "num_cpus": needs.cores,
        "num_gpus": needs.gpus,
        "max_restarts": restarts,
        # Not inside the placement group of a Tune trial that asks for the lease.
        "scheduling_strategy": _placed(node) if node else "DEFAULT",
        "max_concurrency": concurrency,
        "runtime_env": runtime_env(actor.__name__, identity, needs.variables),
    }
    handle = ray.remote(actor).options(**options).remote()
    started = handle.__ray_call__.remote(_node_of)
    try:
        if needs.cores or needs.gpus:
            ray.get(started)
        yield handle
    finally:
        # Not before it is there: its process would come up after the proof.
        actual_node = _node_it_started_on(started)
        ray.kill(handle)
        if actual_node is not None:
            prove_ended(identity, actual_node)


def _node_it_started_on(started: ObjectRef[str]) -> str | None:
    """The node that an actor started on; None where it did not start."""
    try:
        return ray.get(started, timeout=_START_S)
    except ray.exceptions.RayError:
        return None


def runtime_env(actor: str, identity: str, variables: dict[str, str]) -> dict[str, Any]:
    """The interpreter and the environment variables of an actor and of what it starts."""
    role = environments.ACTOR_ROLES[actor]
    return {
        "py_executable": str(environments.interpreter(role)),
        "env_vars": {
            **passed_on(),
            "PYTHONPATH": os.environ.get("PYTHONPATH") or str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "VLLM_NO_USAGE_STATS": "1",
            # Not Ray's own, which leads nowhere when offline (flows/own_ray.py).
            **without_passwords({"http_proxy": os.environ.get("http_proxy", "")}),
            **variables,
            processes.LEASE_MARK: identity,
        },
    }


def passed_on() -> dict[str, str]:
    """What a process that takes leases for the driver must have in its environment, too: on a cluster that was there
    before, it does not come by itself."""
    return without_passwords({name: os.environ[name] for name in _PASSED_ON if name in os.environ})


def without_passwords(variables: dict[str, str]) -> dict[str, str]:
    """An address with a user's name and password in it is known to a node by its own environment."""
    return {name: value for name, value in variables.items() if not _WITH_PASSWORD.search(value)}


def check_feasible(name: str, needs: Needs) -> None:
    """Raise Infeasible where no single node has what is needed, even when it is idle."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(n.get("CPU", 0) >= needs.cores and n.get("GPU", 0) >= needs.gpus for n in nodes):
        return
    cores, gpus = max(n.get("CPU", 0) for n in nodes), max(n.get("GPU", 0) for n in nodes)
    raise Infeasible(
        f"{name} needs {needs.cores:g} cores and {needs.gpus:g} GPUs on one node; the largest node has "
        f"{cores:g} and {gpus:g}; ask for less or add a node"
    )


def await_up(actor: ActorHandle[Any]) -> None:
    """Wait until an actor that died, or was killed, is back; it is one that restarts.

    Raises:
        ray.exceptions.ActorDiedError: it does not come back.
    """
    while True:
        try:
            ray.get(actor.__ray_ready__.remote())
            return
        except ray.exceptions.ActorUnavailableError:
            time.sleep(0.1)


def prove_ended(identity: str, node: str, patience_s: float = 10.0) -> list[int]:
    """End what is left of a lease on a node; return the process ids that had to be killed. A node that is
    gone has nothing left."""
    try:
        killed: list[int] = on_node(node, processes.end, identity, patience_s)
    except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
        return []
    return killed


def on_node(node: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of the standard library finds out on a node; on the caller's own it is simply called."""
    if node == ray.get_runtime_context().get_node_id():
        return function(*arguments)
    return ray.get(asked_on(node, function, *arguments))


def on_nodes(nodes: Sequence[str], function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """The same of several nodes at the same time, by their ids."""
    refs = [asked_on(node, function, *arguments) for node in nodes]
    return dict(zip(nodes, ray.get(refs), strict=True))


def asked_on(node: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """The same as an answer that is still to come, for who waits no longer than he has to."""
    task = ray.remote(function).options(num_cpus=0, scheduling_strategy=_placed(node), max_retries=0)
    return task.remote(*arguments)


def _placed(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node_id=node, soft=False)


def _node_of(_actor: Any) -> str:
    node: str = ray.get_runtime_context().get_node_id()
    return node
