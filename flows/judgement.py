"""What a comparison finds: the types of decision.json."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

Verdict = Literal["pass", "fail", "inconclusive"]
Answer = Literal["deploy", "keep the base", "not enough evidence", "nothing was measured"]


@dataclass(frozen=True)
class Difference:
    """One metric of one task: variant minus base, on the same documents."""

    task: str
    metric: str
    documents: int
    base: float
    variant: float
    difference: float
    low: float
    high: float
    recovery: float | None
    """Variant over base, the direction turned so that above 1 is better; None, with
    its interval, where the base has 0 or so little that no interval can be given."""
    recovery_low: float | None
    recovery_high: float | None
    p_value: float | None
    """Exact McNemar; None for metrics that are not right or wrong."""
    gained: int
    lost: int
    smallest_detectable: float | None
    """The loss that a test of this size finds with a power of 0.8; None where no verdict is given."""
    documents_needed: int | None
    """Documents with which a variant that is in truth as good as the base passes with a power of 0.8;
    None where no verdict is given, or the metric is not right or wrong."""
    verdict: Verdict | None
    p_holm: float | None = None
    """`p_value`, corrected over the variants of the experiment."""


@dataclass(frozen=True)
class Judged:
    """All that is said of one variant."""

    name: str
    size_bytes: int
    throughput: float
    """Highest output tokens per second over the points of the load."""
    ttft_p95_ms: float
    itl_p95_ms: float
    """Both at the lightest point."""
    differences: tuple[Difference, ...]
    verdict: Verdict | None
    """None for the base."""
    broken_constraints: tuple[str, ...]
    evidence: dict[str, str]
    """Fingerprints of the records that this rests on."""


@dataclass(frozen=True)
class Judgement:
    """The decision and its grounds."""

    answer: Answer
    recommended: str | None
    sentence: str
    judged: tuple[Judged, ...]
    pareto: tuple[str, ...]
    reasons: dict[str, str]
    """Why each variant that is not recommended lost."""

    def to_json(self) -> str:
        """The same bytes for the same records."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"
