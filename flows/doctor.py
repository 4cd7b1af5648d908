"""What is wrong with this machine, or with each node of a cluster, and what to do about it.

Every node is asked for its state at the same time (`actors.placement.machine.state`); judging it is pure.
"""

import contextlib
import os
import platform
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors import environments
from actors.files import object_store
from actors.placement import machine
from actors.placement.lease import on_nodes
from configs.base import UserError
from configs.experiment import Experiment
from configs.serving import Serving
from configs.storage import Storage, storage_at
from flows import cluster
from flows.planning import gpu_memory
from flows.planning.memory import ENGINE_OVERHEAD, GIB
from flows.store.records import Store

HERE = "here"


@dataclass(frozen=True)
class Finding:
    """One look at one node; with something to do where it is not as it should be."""

    node: str
    what: str
    state: str
    todo: str | None = None


def examine(experiment: Experiment | None) -> list[Finding]:
    """All that was looked at, on every node.

    Raises:
        UserError: the cluster cannot be joined, or the store cannot be made.
    """
    storage = experiment.storage if experiment else storage_at()
    serving = experiment.serving if experiment else Serving()
    kind = cluster.accelerator(experiment) if experiment else cluster.seen_accelerator()
    interpreters = [str(environments.environment(role, kind).python) for role in environments.TO_USE]
    probe = f".doctor.{uuid.uuid4().hex[:8]}"
    asked = (str(storage.local), str(storage.local / probe), interpreters, serving.host, serving.port)
    nodes = {node.id: node for node in cluster.nodes()} if cluster.is_named() else {}

    def everywhere(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        return on_nodes(list(nodes), function, *arguments) if nodes else {HERE: function(*arguments)}

    with _probe(storage, probe):
        told = everywhere(machine.state, *asked)
        if isinstance(storage.root, str):
            seen = everywhere(object_store.state, storage.root, probe)
            told = {name: said | seen[name] for name, said in told.items()}
        if kind == "cuda":
            used = everywhere(machine.gpu_use, "" if nodes else cluster.visible_gpus())
            told = {name: said | {"gpu_use": used[name]} for name, said in told.items()}
    return [finding for name, said in told.items() for finding in judge(name[:8], said, nodes.get(name), serving)]


@contextlib.contextmanager
def _probe(storage: Storage, name: str) -> Iterator[None]:
    """A file in the store, which every node should see inside the block."""
    try:
        storage.local.mkdir(parents=True, exist_ok=True)
        (storage.local / name).touch()
    except OSError as error:
        raise UserError(
            f"storage.root: {storage.local} is not writable ({error.strerror}); choose another folder"
        ) from None
    try:
        if isinstance(storage.root, str):
            Store.of(storage).check_usable()
            object_store.write(f"{storage.root}/{name}", b"")
        yield
    finally:
        (storage.local / name).unlink(missing_ok=True)
        if isinstance(storage.root, str):
            object_store.remove(storage.root, [name])


def judge(name: str, told: dict[str, Any], node: cluster.Node | None, serving: Serving) -> list[Finding]:
    """What one machine's state means.

    Args:
        node: what Ray gives out of it; None for a machine without a cluster.
    """
    works = node is None or node.cores > 0 or node.gpus > 0
    found = [
        _versions(name, told),
        _environments(name, told["missing"]),
        _gpus(name, told, node),
        *_gpu_memory(name, told.get("gpu_use", []), node, serving),
        _store(name, told),
        _left_over(name, told["left_over"]),
    ]
    if works:
        found.append(_memory(name, told["memory_available_bytes"]))
    if told["unusable_port"]:
        todo = f"end what holds port {serving.port} of {serving.host}, or set serving.port"
        found.append(Finding(name, "serving port", f"{serving.port}: {told['unusable_port']}", todo))
    else:
        found.append(Finding(name, "serving port", f"{serving.port} free"))
    if node is not None:
        nice = told["niceness"]
        starves = "start Ray with RAY_worker_niceness=0: what is measured would starve"
        found.append(Finding(name, "niceness", str(nice), starves if works and nice > 0 else None))
    return found


def _versions(name: str, told: dict[str, Any]) -> Finding:
    mine = (metadata.version("ray"), platform.python_version())
    state = f"Ray {told['ray']}, Python {told['python']}"
    if (told["ray"], told["python"]) == mine:
        return Finding(name, "versions", state)
    return Finding(name, "versions", state, f"start Ray there with the driver's environment: {mine[0]}, {mine[1]}")


def _environments(name: str, missing: list[str]) -> Finding:
    if not missing:
        return Finding(name, "environments", f"{len(environments.TO_USE)} built, of these locks")
    state = f"missing: {', '.join(Path(path).parents[1].name for path in missing)}"
    todo = "run `python3 actors/environments.py build` there, with MSF_ENVIRONMENTS and MSF_ACCELERATOR as here"
    return Finding(name, "environments", state, todo)


def _gpus(name: str, told: dict[str, Any], node: cluster.Node | None) -> Finding:
    seen = len(told["gpus"])
    state = f"{seen} x {told['gpus'][0][0]}" if seen else "none"
    if node is not None and node.gpus > seen:
        return Finding(name, "GPUs", state, f"Ray gives out {node.gpus}, nvidia-smi shows {seen}: mend the driver")
    return Finding(name, "GPUs", state)


def _gpu_memory(
    name: str, used: list[dict[str, Any]], node: cluster.Node | None, serving: Serving
) -> Iterator[Finding]:
    """A look at each GPU; where Ray gives out fewer than there are, those that are full may be the others."""
    wrong = dict(gpu_memory.crowded(serving, node.gpus if node else None, used))
    for gpu in used:
        free = gpu["free_mib"] / gpu_memory.MIB_OF_A_GIB
        state = f"{free:.1f} of {gpu['total_mib'] / gpu_memory.MIB_OF_A_GIB:.1f} GiB free"
        yield Finding(name, f"GPU {gpu['index']} memory", state, wrong.get(gpu["index"]))


def _store(name: str, told: dict[str, Any]) -> Finding:
    if told["unwritable"]:
        todo = (
            "mount it there, writable, or set storage.root or MSF_STORE to a folder that every node reaches; an "
            "address needs its fsspec package and credentials there"
        )
        return Finding(name, "store", told["unwritable"], todo)
    if not told["sees_probe"]:
        return Finding(name, "store", "another than the driver's", "mount the same storage at the same path")
    return Finding(name, "store", "writable, the driver's")


def _memory(name: str, available: int) -> Finding:
    state = f"{available / GIB:.1f} GiB available"
    enough = available >= ENGINE_OVERHEAD
    todo = f"end other work: an engine alone needs {ENGINE_OVERHEAD / GIB:.1f} GiB beside its weights"
    return Finding(name, "memory", state, None if enough else todo)


def _left_over(name: str, processes: list[int]) -> Finding:
    if not processes:
        return Finding(name, "left over", "nothing")
    ids = " ".join(map(str, processes))
    return Finding(name, "left over", f"processes {ids} of dead leases", f"look at them, then: kill -9 {ids}")


def show(found: list[Finding], console: Console) -> None:
    """A table, and what to do below it."""
    title = f"cluster at {os.environ['RAY_ADDRESS']}" if cluster.is_named() else "this machine"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for header in ("node", "what", "state", ""):
        table.add_column(header)
    for finding in found:
        table.add_row(finding.node, finding.what, Text(finding.state), "WRONG" if finding.todo else "good")
    console.print(table)
    for finding in found:
        if finding.todo:
            console.print(f"{finding.node}, {finding.what}: {finding.todo}", soft_wrap=True, markup=False)
