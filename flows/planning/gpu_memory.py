"""Whether the GPUs have the memory that engines are going to ask for, or who holds it. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from configs.base import UserError
from configs.serving import Serving

MIB_OF_A_GIB = 1024
_Used = list[dict[str, Any]]
"""What `actors.placement.machine.gpu_use` tells of a node."""
_OF_THE_DEAD = "left by a dead run or a deployment of this project"


def check(serving: Serving, nodes: Mapping[str, tuple[int | None, _Used]]) -> None:
    """Raise UserError for the first GPU that an engine would not start on: vLLM refuses where less is free than
    `gpu_memory_utilization` asks for, after a minute of its start.

    Args:
        nodes: by id, how many GPUs Ray gives out, or None for all, and what they are used for.
    """
    for node, (offered, used) in nodes.items():
        for _, why in crowded(serving, offered, used):
            where = f"node {node[:8]}, " if node else ""
            raise UserError(f"serving.gpu_memory_utilization: {where}{why}")


def crowded(serving: Serving, offered: int | None, used: _Used) -> Iterator[tuple[int, str]]:
    """The index of every GPU with too little memory, and what to say and to do about it.

    Args:
        offered: how many of them a cluster's Ray gives out: which, is not known, so that others may be full; and what
            runs below that Ray is given back before another gets its GPU. None for a machine without a cluster.
    """
    engines = int(1 / serving.gpu_share + 1e-9)
    share = engines * serving.gpu_memory_utilization
    full = [gpu for gpu in used if _free_mib(gpu, of_ray=offered is not None) < share * gpu["total_mib"]]
    if offered is not None and len(used) - len(full) >= offered:
        return
    for gpu in full:
        yield gpu["index"], _why(gpu, share, engines, of_ray=offered is not None)


def _free_mib(gpu: dict[str, Any], *, of_ray: bool) -> int:
    """What an engine finds; on a cluster, once Ray's own have given theirs back."""
    if not of_ray:
        return int(gpu["free_mib"])
    return int(gpu["total_mib"]) - sum(holder["mib"] or 0 for holder in gpu["holders"] if holder["of"] != "Ray")


def _why(gpu: dict[str, Any], share: float, engines: int, *, of_ray: bool) -> str:
    free, total = _free_mib(gpu, of_ray=of_ray), gpu["total_mib"]
    holders = [holder for holder in gpu["holders"] if not (of_ray and holder["of"] == "Ray")]
    held = ", ".join(map(_named, holders)) or "nvidia-smi names no process (perhaps of another container)"
    dead = " ".join(str(holder["process"]) for holder in holders if holder["of"] == "dead")
    todo = [f"inspect the leftovers, then: kill -9 {dead}" if dead else "end the processes that hold it"]
    todo += [] if of_ray else ["set CUDA_VISIBLE_DEVICES to other GPUs"]
    lower = int(100 * free / total / engines) / 100
    todo += [f"set serving.gpu_memory_utilization to {lower:g} or less"] if lower >= 0.1 else []
    demand = f"{engines} engines need" if engines > 1 else "an engine needs"
    return (
        f"{demand} {share * total / MIB_OF_A_GIB:.1f} of the {total / MIB_OF_A_GIB:.1f} GiB of GPU {gpu['index']} "
        f"({gpu['name']}), but only {free / MIB_OF_A_GIB:.1f} are free: {held}; {', or '.join(todo)}"
    )


def _named(holder: dict[str, Any]) -> str:
    of = {"dead": _OF_THE_DEAD, "Ray": "of another run's Ray"}.get(holder["of"])
    about = ", ".join(filter(None, [holder["name"], of]))
    mib = "an unknown part" if holder["mib"] is None else f"{holder['mib'] / MIB_OF_A_GIB:.1f} GiB"
    return f"process {holder['process']}{f' ({about})' if about else ''} holds {mib}"
