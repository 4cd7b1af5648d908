"""The Ray cluster that a run uses: the one that RAY_ADDRESS names, or one of its own on this machine."""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ray

from actors import environments
from actors.placement import machine
from actors.placement.lease import on_nodes
from configs.base import REPOSITORY, UserError
from configs.experiment import Experiment
from configs.hardware import Hardware
from flows import interruption, named_cluster, own_ray

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8", "amx_fp16")
PYTHONPATH = str(REPOSITORY)
"""Where the cluster's workers find this project, and nothing that the user's own path may hold."""
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


@contextlib.contextmanager
def connected(accelerator: str, logs: Path | None = None, *, object_store: bool = False) -> Iterator[Path]:
    """A connection to Ray for the length of the block; yields the folder of its logs.

    RAY_ADDRESS (set by `ray job submit`) names a running cluster; otherwise one is started on this
    machine, bound to loopback, and ended with the block.

    Args:
        logs: where the logs of a cluster that ends with the block are kept.
        object_store: whether what runs on it reaches one; on a running cluster every node has credentials of its own.
    """
    os.environ |= {"PYTHONPATH": PYTHONPATH, "MSF_ACCELERATOR": accelerator}
    _quieten()
    with _joined() if is_named() else own_ray.up(_QUIET, logs, object_store=object_store):
        # The raylet remarks on every worker that a lease ends; it says the same in its own log.
        ray._private.worker._worker_logs_enabled = False
        yield _logs_folder()


@contextlib.contextmanager
def _joined() -> Iterator[None]:
    _join()
    interruption.interrupt_on_signals()
    yield


def _join() -> None:
    """Be part of the cluster that RAY_ADDRESS names, until the process ends: where a job's driver leaves, Ray
    deletes the working directory that it was started in, and it could not come back."""
    if ray.is_initialized():
        return
    address = os.environ["RAY_ADDRESS"]
    _quieten()
    named_cluster.check(address)
    try:
        ray.init(**_QUIET)
    except ray.exceptions.AuthenticationError:
        raise UserError(
            f"RAY_ADDRESS: the cluster at {address} refuses this token, or none is set; put the cluster's token into "
            "~/.ray/auth_token or the file that RAY_AUTH_TOKEN_PATH names, and set RAY_AUTH_MODE=token"
        ) from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"RAY_ADDRESS: no cluster could be joined at {address}: {reason:.200}; start it with this project's "
            "environments, or unset RAY_ADDRESS"
        ) from None


def _quieten() -> None:
    """What Ray reads from the environment, before it starts."""
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray starts workers at niceness 15: beside any other work on the machine a benchmark would starve.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # A cluster that lives for one run reports its use to nobody, unless the user asks for it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def _logs_folder() -> Path:
    node = ray._private.worker._global_node
    return Path(node.get_logs_dir_path() if node else "")


def is_named() -> bool:
    """Whether a running cluster is to be used; without one nothing of Ray is started to make a plan."""
    return bool(os.environ.get("RAY_ADDRESS"))


@dataclass(frozen=True)
class Node:
    """A node of the cluster that RAY_ADDRESS names."""

    id: str
    cores: int
    """That Ray gives out; none of a head that does no work."""
    gpus: int
    description: dict[str, Any]
    """What it says of itself: `actors.placement.machine.describe`."""


def nodes() -> tuple[Node, ...]:
    """The nodes of the cluster that RAY_ADDRESS names, looked up once."""
    return _nodes(os.environ["RAY_ADDRESS"])


@cache
def _nodes(_address: str) -> tuple[Node, ...]:
    _join()
    offers = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    descriptions = on_nodes(list(offers), machine.describe)
    return tuple(
        Node(name, int(offer.get("CPU", 0)), int(offer.get("GPU", 0)), descriptions[name])
        for name, offer in offers.items()
    )


def accelerator(experiment: Experiment) -> str:
    """What the experiment asks for, or else what is seen."""
    return seen_accelerator() if experiment.accelerator == "auto" else experiment.accelerator


def seen_accelerator() -> str:
    """cuda where there is a GPU, here or on the cluster that is named, unless MSF_ACCELERATOR says otherwise."""
    if is_named() and "MSF_ACCELERATOR" not in os.environ:
        return "cuda" if any(node.gpus for node in nodes()) else "cpu"
    return environments.accelerator()


def this_machine(experiment: Experiment) -> Hardware:
    """The hardware that a plan is judged against: this machine's, or, where RAY_ADDRESS names a cluster, that of
    its largest node. A head that Ray gives nothing of, and the machine that the driver runs on, do not count.

    Raises:
        UserError: the experiment wants CUDA and no GPU is to be seen, or the cluster has no node that works.
    """
    wanted = accelerator(experiment)
    if not is_named():
        return _hardware(wanted, machine.describe(visible_gpus()))
    largest = max(nodes(), key=lambda node: (node.gpus if wanted == "cuda" else 0, node.cores))
    if not (largest.gpus if wanted == "cuda" else largest.cores):
        what = "GPU" if wanted == "cuda" else "CPU core"
        raise UserError(
            f"RAY_ADDRESS: no node of the cluster offers a {what} (accelerator: {wanted}); wait for a worker "
            "node, or add one: the head does no work"
        )
    return _on_offer(wanted, largest)


def visible_gpus() -> str:
    """The GPUs of this machine that a run of its own Ray uses, as CUDA_VISIBLE_DEVICES has them; empty for all."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


def gpu_use(hardware: Hardware) -> dict[str, tuple[int | None, list[dict[str, Any]]]]:
    """Of every node that a plan would use: how many GPUs Ray gives out there, and what their memory is used for
    (`actors.placement.machine.gpu_use`). The only key of this machine, without a cluster, is empty, and Ray gives out
    all."""
    if not is_named():
        return {"": (None, machine.gpu_use(visible_gpus()))}
    offers = {node.id: node.gpus for node in nodes() if node.gpus and is_alike(node.id, hardware)}
    return {name: (offers[name], used) for name, used in on_nodes(list(offers), machine.gpu_use).items()}


def gpu_energy(hardware: Hardware) -> dict[str, list[dict[str, Any]]]:
    """Of every node that a plan would use, whether its GPUs tell their energy (`actors.placement.machine.gpu_energy`).
    The only key of this machine, without a cluster, is empty."""
    interpreter = str(environments.interpreter("inference", hardware.accelerator))
    if not is_named():
        return {"": machine.gpu_energy(interpreter, visible_gpus())}
    alike = [node.id for node in nodes() if node.gpus and is_alike(node.id, hardware)]
    return on_nodes(alike, machine.gpu_energy, interpreter)


def is_alike(node: str, hardware: Hardware) -> bool:
    """Whether a node is of the kind that a plan is made for; figures of another kind are not comparable."""
    if not is_named():
        return True
    names = [_on_offer(hardware.accelerator, each).name for each in nodes() if each.id == node]
    return names == [hardware.name]


def _on_offer(wanted: str, node: Node) -> Hardware:
    """The part of a node that Ray gives out. What computes on its GPUs holds cores, too."""
    offered = {**node.description, "cores": min(node.description["cores"], node.cores)}
    if wanted == "cuda":
        offered["gpus"] = node.description["gpus"][: node.gpus]
    return _hardware(wanted, offered)


def _hardware(wanted: str, description: dict[str, Any]) -> Hardware:
    base: dict[str, Any] = {
        "accelerator": wanted,
        "cores": description["cores"],
        "memory_bytes": description["memory_bytes"],
        "instructions": tuple(i for i in _INSTRUCTIONS if i in description["flags"]),
    }
    if wanted == "cpu":
        return Hardware(name=description["cpu"], **base)
    if not description["gpus"]:
        raise UserError(
            "accelerator: 'cuda' is set, but nvidia-smi shows no GPU here; use a GPU machine or set accelerator: cpu"
        )
    name, memory, capability = description["gpus"][0]
    return Hardware(
        name=name,
        gpus=len(description["gpus"]),
        gpu_memory_bytes=int(memory) << 20,
        compute_capability=float(capability),
        **base,
    )
