"""Names and types of what crosses a process border, for those who write it and those who read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REQUESTS = "requests.jsonl"
"""In a benchmark's folder: one line for each request of every point."""


@dataclass(frozen=True)
class EngineSpec:
    """One vLLM engine as it is started, whether it is benchmarked or deployed."""

    model: str
    """The name that requests give."""
    checkpoint: str
    """Its folder, on every node that the engine may run on."""
    arguments: Mapping[str, Any]
    """vLLM's engine arguments."""
    lease: str
    """The mark of all its processes."""
    variables: Mapping[str, str]
    """Environment variables of its processes."""
    cores: int
    """CPU cores of an engine that runs on a CPU; 0 with GPUs."""
    gpus: float
    """Several, or a share of one; 0 on a CPU."""
    host: str | None
    """Where it listens on its node; None for the node's own address."""
    cache: str
    """The node's folder for what vLLM compiles."""
    start_timeout_s: float
    """Seconds after which it has not started."""
    key: str | None = field(default=None, repr=False)
    """What it asks for, in Ray's memory and the engine's environment alone; None where it answers everybody."""
