"""What counts as good enough, and what as best."""

from typing import Any, Literal

from pydantic import Field, model_validator

from configs.base import Settings

Objective = Literal["throughput", "goodput", "capacity", "cost", "energy", "ttft", "tpot", "size"]
_RENAMED = {"max_itl_p95_ms": "max_tpot_p95_ms"}
"""Settings as they were called while the mean gap between the tokens of a request was called its ITL."""


class Constraints(Settings):
    """A variant that breaks one of these is not recommended. None: no limit.

    The latency limits (the SLO) and the share of failed requests say which points of the load count. A variant
    breaks them if it is shown to break them at every point, and satisfies them if it is shown to do so at one point;
    otherwise nothing is shown.
    """

    max_accuracy_drop: float = Field(default=0.02, ge=0, le=1)
    """Non-inferiority margin: the largest acceptable loss of a task's primary metric, in its unit."""
    max_ttft_p95_ms: float | None = Field(default=None, gt=0)
    """95th percentile of the time to first token, from when a request was sent, or at a rate was due."""
    max_tpot_p95_ms: float | None = Field(default=None, gt=0)
    """95th percentile of the mean time between the tokens of a request."""
    max_request_latency_p95_ms: float | None = Field(default=None, gt=0)
    """95th percentile of the time from sending a request to its last token."""
    max_size_gb: float | None = Field(default=None, gt=0)
    """Size of the checkpoint's weights, in 10^9 bytes."""

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if twice := [old for old, new in _RENAMED.items() if old in values and new in values]:
            raise ValueError(f"{twice[0]} is the former name of {_RENAMED[twice[0]]}; remove one of the two")
        return {_RENAMED.get(name, name): value for name, value in values.items()}

    @property
    def latency_limits_ms(self) -> dict[str, float]:
        """The SLO by the name of the latency; empty where none is set."""
        limits = {
            "ttft": self.max_ttft_p95_ms,
            "tpot": self.max_tpot_p95_ms,
            "request_latency": self.max_request_latency_p95_ms,
        }
        return {name: limit for name, limit in limits.items() if limit is not None}


class Decision(Settings):
    """The objective, over the variants that meet the constraints."""

    objective: Objective = "throughput"
    """The figure to optimize. Over the points of the load that are shown to satisfy the latency limits:
    `throughput`, the highest output tokens per second; `cost`, the lowest price of a million of them; `energy`, the
    fewest joules of the GPUs an output token, without what they take when idle (only where NVML tells it).
    `capacity`, the heaviest point that satisfies them together with all lighter ones, by the 95th percentile of each
    latency. `goodput`, the highest rate at which a share of the requests (`attainment`) satisfies all of them at once,
    together with all lower rates (Zhong et al. 2024, DistServe, section 2); with clients instead of rates, the requests
    per second that satisfy them at the best such point.
    At the lightest point: `ttft` or `tpot` (the mean gap between the tokens of a request), the lowest 95th percentile.
    And `size`, the smallest checkpoint. At a rate, the throughput equals the rate, so `throughput` and `cost` are only
    for clients."""
    constraints: Constraints = Constraints()
    """Limits that a variant must satisfy."""
    min_gain: float = Field(default=0.03, ge=0, lt=1)
    """The smallest gain in the objective that is worth a change, as a share of the baseline's (0.03: 3 %). A variant
    replaces the baseline if its gain is shown to be above; the baseline is kept if every variant's is shown to be
    below."""
    attainment: float = Field(default=0.9, gt=0, lt=1)
    """For `goodput`: the share of requests that must satisfy all latency limits."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence of a two-sided interval. One minus it is also the largest probability of a false deployment, over
    all variants, and over verdict and lead together."""
    price_per_hour: float | None = Field(default=None, gt=0)
    """Price of the devices of one of the base's engines, in any currency. With it, costs are shown; `cost` needs it."""

    def over(self, variants: int) -> "Decision":
        """The same decision, with intervals whose lower bounds hold for so many variants at once (Bonferroni).

        A variant is deployed wrongly where its accuracy is beyond the margin or its gain is not above `min_gain`, and
        only if the bound that is wrong of it shows the opposite. So with an error of `(1 - confidence) / variants` for
        one bound, all variants together err in `1 - confidence` of all decisions, verdicts and leads in one; Holm's
        steps would promise that of each of the two alone, and ask the same for the first variant that leads. One-sided,
        as only one side deploys: for two variants it is the two-sided interval as it is.
        """
        return self.model_copy(update={"confidence": 1 - 2 * (1 - self.confidence) / max(1, variants)})

    @property
    def by_attainment(self) -> bool:
        """Whether the limits are those of a share of the requests, and not of percentiles."""
        return self.objective == "goodput"

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: Any) -> Any:
        former = isinstance(values, dict) and values.get("objective") == "itl"
        return {**values, "objective": "tpot"} if former else values

    @model_validator(mode="after")
    def _objective_can_be_computed(self) -> "Decision":
        if self.objective in ("goodput", "capacity") and not self.constraints.latency_limits_ms:
            raise ValueError(
                f"objective {self.objective!r} needs a latency limit, and none is set; add "
                "constraints.max_ttft_p95_ms, max_tpot_p95_ms or max_request_latency_p95_ms"
            )
        if self.objective == "cost" and self.price_per_hour is None:
            raise ValueError("objective 'cost' needs price_per_hour, the price of one engine's devices; add it")
        return self
