"""The Ray cluster that a run uses: the one it is told of, or one of its own on this machine."""

import contextlib
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from actors import environments
from configs.base import REPOSITORY, UserError
from configs.experiment import Experiment
from configs.hardware import Hardware

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8")
PYTHONPATH = str(REPOSITORY)
"""Where the cluster's workers find this project, and nothing that the user's own path may hold."""
_LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def connected(accelerator: str) -> Iterator[Path]:
    """A connection to Ray for the length of the block; yields the folder of its logs.

    RAY_ADDRESS (set by `ray job submit`) names a running cluster; otherwise one is started on this
    machine, bound to loopback, and ended with the block.
    """
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray starts workers at niceness 15: beside any other work on the machine a benchmark would starve.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # A cluster that lives for one run reports its use to nobody, unless the user asks for it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ |= {"PYTHONPATH": PYTHONPATH, "MSF_ACCELERATOR": accelerator}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        ray.init(
            address="local",
            num_cpus=len(os.sched_getaffinity(0)),
            include_dashboard=False,
            _node_ip_address=_LOOPBACK,
            **quiet,
        )
    # The raylet remarks on every worker that a lease ends; it says the same in its own log.
    ray._private.worker._worker_logs_enabled = False
    try:
        yield _logs_folder()
    finally:
        ray.shutdown()


def _logs_folder() -> Path:
    node = ray._private.worker._global_node
    return Path(node.get_logs_dir_path() if node else "")


def accelerator(experiment: Experiment) -> str:
    return environments.accelerator() if experiment.accelerator == "auto" else experiment.accelerator


def this_machine(experiment: Experiment) -> Hardware:
    """The hardware that a plan is judged against.

    Raises:
        UserError: the experiment wants CUDA and no GPU is to be seen.
    """
    wanted = accelerator(experiment)
    cpu = _cpu_description()
    base: dict[str, Any] = {
        "accelerator": wanted,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "instructions": tuple(i for i in _INSTRUCTIONS if i in cpu["flags"].split()),
    }
    if wanted == "cpu":
        return Hardware(name=cpu["model name"], **base)
    gpus = _nvidia_smi()
    if not gpus:
        raise UserError(
            "accelerator: 'cuda' is asked for, but nvidia-smi shows no GPU here; run it on a GPU machine or "
            "set accelerator: cpu"
        )
    name, memory, capability = gpus[0]
    return Hardware(
        name=name,
        gpus=len(gpus),
        gpu_memory_bytes=int(memory) << 20,
        compute_capability=float(capability),
        **base,
    )


def _cpu_description() -> dict[str, str]:
    first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {"model name": "CPU", "flags": ""} | {key.strip(): value.strip() for key, value in pairs}


def _nvidia_smi() -> list[list[str]]:
    query = ["nvidia-smi", "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [[part.strip() for part in line.split(",")] for line in answer.splitlines() if line.strip()]
