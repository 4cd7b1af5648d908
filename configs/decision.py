"""What counts as good enough, and what as best."""

from typing import Literal

from pydantic import Field

from configs.base import Settings


class Constraints(Settings):
    """A variant that breaks one of these is not recommended. None: not asked for."""

    max_accuracy_drop: float = Field(default=0.02, ge=0, le=1)
    """Non-inferiority margin: the largest acceptable loss of a task's primary metric, in its unit."""
    max_ttft_p95_ms: float | None = Field(default=None, gt=0)
    max_itl_p95_ms: float | None = Field(default=None, gt=0)
    max_size_gb: float | None = Field(default=None, gt=0)


class Decision(Settings):
    """The objective, over the variants that meet the constraints."""

    objective: Literal["throughput", "ttft", "itl", "size"] = "throughput"
    """Highest output tokens per second over the load's points, lowest p95 of TTFT or ITL at the
    lightest point, or smallest checkpoint."""
    constraints: Constraints = Constraints()
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
