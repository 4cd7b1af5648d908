"""What is wrong with this machine, or with each node of a cluster, and what to do about it.

The state of all nodes is read at the same time (`actors.placement.machine.state`); judging it is pure.
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
from configs.experiment import Experiment
from configs.serving import Serving
from configs.storage import Storage, storage_at
from flows import cluster
from flows.planning import gpu_memory
from flows.planning.memory import ENGINE_OVERHEAD, GIB
from flows.store.folder import check_writable
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
    inspected = (str(storage.local), str(storage.local / probe), interpreters, serving.host, serving.port)
    nodes = {node.id: node for node in cluster.nodes()} if cluster.is_named() else {}

    def everywhere(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        return on_nodes(list(nodes), function, *arguments) if nodes else {HERE: function(*arguments)}

    with _probe(storage, probe):
        states = everywhere(machine.state, *inspected)
        if isinstance(storage.root, str):
            of_store = everywhere(object_store.state, storage.root, probe)
            states = {name: state | of_store[name] for name, state in states.items()}
        if kind == "cuda":
            visible = "" if nodes else cluster.visible_gpus()
            inference = str(environments.environment("inference", kind).python)
            used, told = everywhere(machine.gpu_use, visible), everywhere(machine.gpu_energy, inference, visible)
            for name, state in states.items():
                state |= {"gpu_use": used[name], "gpu_energy": told[name]}
    return [finding for name, state in states.items() for finding in judge(name[:8], state, nodes.get(name), serving)]


@contextlib.contextmanager
def _probe(storage: Storage, name: str) -> Iterator[None]:
    """A file in the store, which every node should see inside the block."""
    check_writable(storage.local)
    (storage.local / name).touch()
    try:
        if isinstance(storage.root, str):
            Store.of(storage).check_usable()
            object_store.write(f"{storage.root}/{name}", b"")
        yield
    finally:
        (storage.local / name).unlink(missing_ok=True)
        if isinstance(storage.root, str):
            object_store.remove(storage.root, [name])


def judge(name: str, state: dict[str, Any], node: cluster.Node | None, serving: Serving) -> list[Finding]:
    """What one machine's state means.

    Args:
        node: what Ray gives out of it; None for a machine without a cluster.
    """
    works = node is None or node.cores > 0 or node.gpus > 0
    findings = [
        _versions(name, state),
        _environments(name, state["missing"]),
        _gpus(name, state, node),
        *_gpu_memory(name, state.get("gpu_use", []), node, serving),
        *_gpu_energy(name, state),
        _store(name, state),
        _left_over(name, state["left_over"]),
    ]
    if works:
        findings.append(_memory(name, state["memory_available_bytes"]))
    if state["unusable_port"]:
        todo = f"end the process that holds port {serving.port} of {serving.host}, or change serving.port"
        findings.append(Finding(name, "serving port", f"{serving.port}: {state['unusable_port']}", todo))
    else:
        findings.append(Finding(name, "serving port", f"{serving.port} free"))
    if node is not None:
        nice = state["niceness"]
        starves = "start Ray with RAY_worker_niceness=0, or measurements will starve"
        findings.append(Finding(name, "niceness", str(nice), starves if works and nice > 0 else None))
    return findings


def _versions(name: str, state: dict[str, Any]) -> Finding:
    mine = (metadata.version("ray"), platform.python_version())
    text = f"Ray {state['ray']}, Python {state['python']}"
    if (state["ray"], state["python"]) == mine:
        return Finding(name, "versions", text)
    return Finding(name, "versions", text, f"start Ray there with the driver's environment: {mine[0]}, {mine[1]}")


def _environments(name: str, missing: list[str]) -> Finding:
    if not missing:
        return Finding(name, "environments", f"{len(environments.TO_USE)} built from these locks")
    state = f"missing: {', '.join(Path(path).parents[1].name for path in missing)}"
    todo = "run `python3 actors/environments.py build` there, with MSF_ENVIRONMENTS and MSF_ACCELERATOR as here"
    return Finding(name, "environments", state, todo)


def _gpus(name: str, state: dict[str, Any], node: cluster.Node | None) -> Finding:
    count = len(state["gpus"])
    text = f"{count} x {state['gpus'][0][0]}" if count else "none"
    if node is not None and node.gpus > count:
        return Finding(name, "GPUs", text, f"Ray offers {node.gpus}, nvidia-smi shows {count}: fix the driver")
    return Finding(name, "GPUs", text)


def _gpu_memory(
    name: str, used: list[dict[str, Any]], node: cluster.Node | None, serving: Serving
) -> Iterator[Finding]:
    """A look at each GPU; where Ray gives out fewer than there are, those that are full may be the others."""
    wrong = dict(gpu_memory.crowded(serving, node.gpus if node else None, used))
    for gpu in used:
        free = gpu["free_mib"] / gpu_memory.MIB_OF_A_GIB
        state = f"{free:.1f} of {gpu['total_mib'] / gpu_memory.MIB_OF_A_GIB:.1f} GiB free"
        yield Finding(name, f"GPU {gpu['index']} memory", state, wrong.get(gpu["index"]))


def _gpu_energy(name: str, state: dict[str, Any]) -> Iterator[Finding]:
    """Nothing is wrong with GPUs that do not tell: then no energy is shown, and the objective `energy` refused."""
    if count := len(state["gpus"]):
        telling = sum(gpu["energy_j"] is not None for gpu in state.get("gpu_energy", []))
        yield Finding(name, "GPU energy", f"told by {telling} of {count}")


def _store(name: str, state: dict[str, Any]) -> Finding:
    if state["unwritable"]:
        todo = (
            "mount it there as writable, or set storage.root or MSF_STORE to a folder that every node reaches; an "
            "address needs its fsspec package and credentials there"
        )
        return Finding(name, "store", state["unwritable"], todo)
    if not state["sees_probe"]:
        return Finding(name, "store", "not the driver's", "mount the same storage at the same path")
    return Finding(name, "store", "writable, shared with the driver")


def _memory(name: str, available: int) -> Finding:
    state = f"{available / GIB:.1f} GiB available"
    enough = available >= ENGINE_OVERHEAD
    todo = f"end other work: an engine needs {ENGINE_OVERHEAD / GIB:.1f} GiB in addition to its weights"
    return Finding(name, "memory", state, None if enough else todo)


def _left_over(name: str, processes: list[int]) -> Finding:
    if not processes:
        return Finding(name, "leftovers", "none")
    ids = " ".join(map(str, processes))
    return Finding(name, "leftovers", f"processes {ids} of dead leases", f"inspect them, then: kill -9 {ids}")


def show(findings: list[Finding], console: Console) -> None:
    """A table, and what to do below it."""
    title = f"cluster at {os.environ['RAY_ADDRESS']}" if cluster.is_named() else "this machine"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for header in ("node", "what", "state", ""):
        table.add_column(header)
    for finding in findings:
        table.add_row(finding.node, finding.what, Text(finding.state), "WRONG" if finding.todo else "good")
    console.print(table)
    for finding in findings:
        if finding.todo:
            console.print(f"{finding.node}, {finding.what}: {finding.todo}", soft_wrap=True, markup=False)
