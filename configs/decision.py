"""What counts as good enough, and what as best."""

from typing import Literal

from pydantic import Field, model_validator

from configs.base import Settings

Objective = Literal["throughput", "goodput", "capacity", "cost", "ttft", "itl", "size"]


class Constraints(Settings):
    """A variant that breaks one of these is not recommended. None: not asked for.

    The latency limits (the SLO) say which points of the load count, and so does the share of requests that fail: a
    variant breaks them where it is shown to break them at every point, keeps to them where it is shown to do so
    at one, and else nothing is shown.
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
    """What is best. Over the points of the load that are shown to keep to the latency limits:
    `throughput`, the highest output tokens per second; `cost`, the lowest price of a million of them.
    Over all points without errors: `goodput`, the highest rate of requests that each keep to the limits;
    `capacity`, the heaviest point that keeps to them with all lighter ones.
    At the lightest point: `ttft` or `itl`, the lowest 95th percentile.
    And `size`, the smallest checkpoint."""
    constraints: Constraints = Constraints()
    min_gain: float = Field(default=0.03, ge=0, lt=1)
    """The smallest gain in the objective that is worth a change, as a share of the base's (0.03: 3 %). A variant
    replaces the base where its gain is shown to be above; the base is kept where every one's is shown to be below."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of a two-sided interval. One minus it is also the largest chance that a decision deploys a variant that it
    should not, over all variants and both of the verdict and the lead."""
    price_per_hour: float | None = Field(default=None, gt=0)
    """What the devices of one engine cost, in any currency; for `cost`."""

    def over(self, variants: int) -> "Decision":
        """The same decision, with intervals whose lower bounds hold for so many variants at once (Bonferroni).

        A variant is deployed wrongly where its accuracy is beyond the margin or its gain is not above `min_gain`, and
        only if the bound that is wrong of it shows the opposite. So with an error of `(1 - confidence) / variants` for
        one bound, all variants together err in `1 - confidence` of all decisions, verdicts and leads in one; Holm's
        steps would promise that of each of the two alone, and ask the same for the first variant that leads. One-sided,
        as only one side deploys: for two variants it is the two-sided interval as it is.
        """
        return self.model_copy(update={"confidence": 1 - 2 * (1 - self.confidence) / max(1, variants)})

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
