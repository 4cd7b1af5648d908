"""A machine's description of itself: standard library only, so that it runs on any node of a cluster
(`actors.placement.lease.on_node`), in any environment."""

import json
import os
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from actors.placement import processes


def describe(visible: str = "") -> dict[str, Any]:
    """`cpu` (its name), `flags` (its instruction sets), `cores` that may be used, `memory_bytes`, and `gpus`: for
    each its name, memory in MiB and compute capability, as nvidia-smi says them.

    Args:
        visible: which GPUs count, as CUDA_VISIBLE_DEVICES has them; empty for all.
    """
    first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    cpu = {key.strip(): value.strip() for key, value in pairs}
    return {
        "cpu": cpu.get("model name", "CPU"),
        "flags": cpu.get("flags", "").split(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": _nvidia_smi("gpu=name,memory.total,compute_cap", visible),
    }


def state(store: str, probe: str, interpreters: list[str], host: str, port: int) -> dict[str, Any]:
    """How fit this machine is to work.

    Args:
        store: a folder that must be writable from here.
        probe: a file in it that another machine has made.
        interpreters: of the environments that must be here; each path carries its lock's digest.
        host: where the serving port must be free, with `port`.

    Returns:
        What `describe` tells, and `python` and `ray` (versions of the process that answers), `niceness` (its own),
        `missing` (interpreters), `unwritable` and `unusable_port` (the reason, or None), `sees_probe`,
        `memory_available_bytes` and `left_over` (`actors.placement.processes.left_over`).
    """
    return {
        **describe(),
        "python": platform.python_version(),
        "ray": metadata.version("ray"),
        "niceness": os.nice(0),
        "missing": [path for path in interpreters if not os.path.exists(path)],
        "unwritable": _unwritable(Path(store)),
        "sees_probe": os.path.exists(probe),
        "unusable_port": _unusable(host, port),
        "memory_available_bytes": _available_bytes(),
        "left_over": processes.left_over(),
    }


def _unwritable(folder: Path) -> str | None:
    try:
        file = folder / f".writable.{platform.node()}.{os.getpid()}"
        file.touch()
        file.unlink()
    except OSError as error:
        return error.strerror
    return None


def _unusable(host: str, port: int) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror
    return None


def _available_bytes() -> int:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")


def gpu_use(visible: str = "") -> list[dict[str, Any]]:
    """What the memory of each GPU is used for now.

    Args:
        visible: which GPUs count, as CUDA_VISIBLE_DEVICES has them; empty for all.

    Returns:
        For each GPU `index`, `name`, `total_mib`, `free_mib` and `holders`: for each process on it `process` (its
        id), `name`, `mib` (None where the driver does not say) and `of`, which is `Ray` below a raylet, `dead` with a
        lease's mark and no Ray above (`actors.placement.processes.left_over`), else empty. In a container the driver
        may tell ids of the host, or no processes at all.
    """
    holders: dict[str, list[dict[str, Any]]] = {}
    for gpu, process, mib in _nvidia_smi("compute-apps=gpu_uuid,pid,used_memory", visible):
        holders.setdefault(gpu, []).append(_holder(int(process), mib))
    return [
        {
            "index": int(index),
            "name": name,
            "total_mib": int(total),
            "free_mib": int(free),
            "holders": holders.get(gpu, []),
        }
        for index, gpu, name, total, free in _nvidia_smi("gpu=index,uuid,name,memory.total,memory.free", visible)
    ]


def gpu_energy(interpreter: str, visible: str = "") -> list[dict[str, Any]]:
    """Whether each GPU tells the energy that it takes: its `name`, `uuid` and `energy_j`, the joules since its driver
    was loaded, None where it does not tell. No GPU where there is no driver, or no NVML to ask.

    Args:
        interpreter: of an environment that has NVML.
        visible: which GPUs count, as CUDA_VISIBLE_DEVICES has them; empty for all.
    """
    try:
        answer = _answer([interpreter, "-m", "actors.engines.nvml", visible], cwd=Path(__file__).parents[2])
        told: list[dict[str, Any]] = json.loads(answer)
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    return told


def host_and_driver() -> dict[str, str | None]:
    """This node's name as `host`, and as `driver` the version of its GPUs' driver; None where there is none."""
    versions = [row[0] for row in _nvidia_smi("gpu=driver_version", "")]
    return {"host": socket.gethostname(), "driver": versions[0] if versions else None}


def _holder(process: int, mib: str) -> dict[str, Any]:
    holder = {"process": process, "name": "", "mib": int(mib) if mib.isdigit() else None, "of": ""}
    try:
        holder["name"] = Path(f"/proc/{process}/comm").read_text().strip()
        above = processes.ancestors(process)
    except OSError:
        return holder
    if "raylet" in above:
        return holder | {"of": "Ray"}
    return holder | {"of": "dead" if process in processes.left_over() else ""}


def _nvidia_smi(query: str, visible: str) -> list[list[str]]:
    """The rows of a query; none where there is no driver."""
    command = ["nvidia-smi", f"--query-{query}", "--format=csv,noheader,nounits"]
    if visible and "MIG" not in visible:
        command.append(f"--id={visible}")
    try:
        answer = _answer(command)
    except (OSError, subprocess.SubprocessError):
        return []
    return [[part.strip() for part in line.split(",")] for line in answer.splitlines() if line.strip()]


def _answer(command: list[str], cwd: Path | None = None) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=cwd).stdout
