"""What a machine is, told by itself: standard library only, so that it runs on any node of a cluster
(`actors.lease.on_node`), in any environment."""

import os
import subprocess
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """`cpu` (its name), `flags` (its instruction sets), `cores` that may be used, `memory_bytes`, and `gpus`: for
    each its name, memory in MiB and compute capability, as nvidia-smi says them."""
    first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    cpu = {key.strip(): value.strip() for key, value in pairs}
    return {
        "cpu": cpu.get("model name", "CPU"),
        "flags": cpu.get("flags", "").split(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": _nvidia_smi(),
    }


def holds(paths: list[str]) -> list[bool]:
    """Whether each path is there, seen from here."""
    return [os.path.exists(path) for path in paths]


def _nvidia_smi() -> list[list[str]]:
    query = ["nvidia-smi", "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [[part.strip() for part in line.split(",")] for line in answer.splitlines() if line.strip()]
