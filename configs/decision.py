"""What counts as good enough, and what as best."""

from typing import Literal

from pydantic import Field, model_validator

from configs.base import Settings

Objective = Literal["throughput", "goodput", "capacity", "cost", "ttft", "itl", "size"]


class Constraints(Settings):
    """A variant that breaks one of these is not recommended. None: not asked for.

    The latency limits (the SLO) say which points of the load count: a variant breaks them where it
    keeps to them at no point.
    """

    max_accuracy_drop: float = Field(default=0.02, ge=0, le=1)
    """Non-inferiority margin: the largest acceptable loss of a task's primary metric, in its unit."""
    max_ttft_p95_ms: float | None = Field(default=None, gt=0)
    max_itl_p95_ms: float | None = Field(default=None, gt=0)
    max_request_latency_p95_ms: float | None = Field(default=None, gt=0)
    max_size_gb: float | None = Field(default=None, gt=0)

    @property
    def latency_limits_ms(self) -> dict[str, float]:
        """The SLO by the name of the latency; empty where none is asked for."""
        asked = {
            "ttft": self.max_ttft_p95_ms,
            "itl": self.max_itl_p95_ms,
            "request_latency": self.max_request_latency_p95_ms,
        }
        return {name: limit for name, limit in asked.items() if limit is not None}


class Decision(Settings):
    """The objective, over the variants that meet the constraints."""

    objective: Objective = "throughput"
    """What is best. Over the points of the load that keep to the latency limits:
    `throughput`, the highest output tokens per second; `cost`, the lowest price of a million of them.
    Over all points: `goodput`, the highest rate of requests that each keep to the limits;
    `capacity`, the heaviest point that keeps to them with all lighter ones.
    At the lightest point: `ttft` or `itl`, the lowest 95th percentile.
    And `size`, the smallest checkpoint."""
    constraints: Constraints = Constraints()
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    price_per_hour: float | None = Field(default=None, gt=0)
    """What the devices of one engine cost, in any currency; for `cost`."""

    @model_validator(mode="after")
    def _objective_can_be_computed(self) -> "Decision":
        if self.objective in ("goodput", "capacity") and not self.constraints.latency_limits_ms:
            raise ValueError(
                f"objective {self.objective!r} is measured against latency limits, and none is set; add "
                "constraints.max_ttft_p95_ms, max_itl_p95_ms or max_request_latency_p95_ms"
            )
        if self.objective == "cost" and self.price_per_hour is None:
            raise ValueError("objective 'cost' needs price_per_hour, the price of one engine's devices; add it")
        return self
