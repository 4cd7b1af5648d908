"""What a comparison finds: the types of decision.json."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from configs.experiment import BASE
from configs.load import in_words

Verdict = Literal["pass", "fail", "inconclusive"]
Answer = Literal["deploy", "keep the baseline", "not enough evidence", "nothing was measured", "differs by workload"]
Standing = Literal["keeps", "breaks", "not shown"]
"""What the repeats show of a limit."""
CLIENT_LIMIT, COMPILED, FEW_REQUESTS = "client at its limit", "compiled", "few requests"
VOID = frozenset({CLIENT_LIMIT, COMPILED})
"""Labels of a point that says nothing of the server; one repeat with such a label is enough."""


@dataclass(frozen=True)
class Difference:
    """One metric of one task: variant minus baseline, on the same documents."""

    task: str
    metric: str
    documents: int
    sources: int | None
    """How many sources (passages, subjects) the documents come from; None where each stands for itself."""
    base: float
    variant: float
    difference: float
    low: float
    high: float
    recovery: float | None
    """Variant over baseline, the direction turned so that above 1 is better; None, with
    its interval, where the baseline has 0 or so little that no interval can be given."""
    recovery_low: float | None
    recovery_high: float | None
    p_value: float | None
    """Exact McNemar, or of the clustered mean where documents share sources; None for metrics that are
    neither."""
    gained: int
    lost: int
    smallest_detectable: float | None
    """The loss that a test of this size finds with a power of 0.8; None where no verdict is given."""
    documents_needed: int | None
    """Documents with which a variant whose true difference is this one passes, or fails, with a power of 0.8. None
    where the verdict is not inconclusive, sources limit, the metric is no mean, or the difference all but on the
    margin."""
    verdict: Verdict | None
    p_holm: float | None = None
    """`p_value`, corrected over the variants of the experiment."""
    filter: str = "none"
    """Of lm-eval's filters, that whose answers are judged; `none` where the task has none."""
    higher_is_better: bool = True
    goes_to: int = 1
    """What the metric goes to: 1, or 100 (bleu, chrf, ter)."""
    margin: float | None = None
    """Largest loss in the metric's own unit; None where a recovery is required, or no verdict given."""
    min_recovery: float | None = None
    """Smallest recovery that is required instead of a margin."""
    sources_needed: int | None = None
    """As `documents_needed`, where documents share sources: more documents of the same ones would not do."""
    undecidable: str | None = None
    """Why this interval gives no verdict but inconclusive, wherever it lies."""

    def turned(self, value: float) -> float:
        """A difference or a bound of one, turned so that more is better, as a share of what the metric goes to."""
        return (value if self.higher_is_better else -value) / self.goes_to

    @property
    def allowed(self) -> float | None:
        """The largest loss in the metric's own unit: the margin, or what a recovery leaves of the baseline's value.
        None where no verdict is given, and for a recovery of which less is better, as of perplexities: it has no
        points."""
        if self.min_recovery is None:
            return self.margin
        return (1 - self.min_recovery) * self.base if self.higher_is_better else None

    @property
    def limit(self) -> str:
        """What the difference is judged by, in words."""
        if self.min_recovery is not None:
            return f"a recovery of {100 * self.min_recovery:g} %"
        return f"the margin of {self.margin:g}"


@dataclass(frozen=True)
class Pooled:
    """The mean difference over tasks, each with the same weight."""

    tasks: tuple[str, ...]
    difference: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class Estimate:
    """The mean of a figure over the repeats, with its interval; of a percentile, that of all their requests together.
    None where fewer than three repeats, or too few requests, give no bound."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Ratio:
    """Variant over base, turned so that above 1 is better; no bounds from fewer than three repeats."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Lead(Ratio):
    """The objective of a variant over the baseline's. A capacity lies between two points of the load: then only
    the bounds say how far apart two are, and the upper is None where nobody looked further."""

    sure: float | None
    """One-sided lower bound that holds for all variants of the experiment at once; None as `low`."""
    most: float | None
    """One-sided upper bound of this variant alone; None as `high`."""
    repeats: int
    """Pairs of repeats that it rests on."""
    at: str | None = None
    """The load at which both were compared, in words; None for sizes and capacities."""
    unsettled: tuple[str, ...] = ()
    """Loads in words at which it might be more than the smallest gain: neither is shown to break a limit there, but not
    both are shown to satisfy them."""
    repeats_needed: int | None = None
    """Repeats with which a gain as large as this is shown to be above the smallest one, or below it, with a
    power of 0.8; starts of the engines, where there are several. None where they would be more than anybody makes."""
    starts: int = 1
    """Of both engines, over which the repeats are spread."""


@dataclass(frozen=True)
class Point:
    """One load, over its repeats."""

    asked: float
    unit: str
    """As of `configs.load.Unit`."""
    repeats: int
    figures: dict[str, Estimate]
    labels: tuple[str, ...]
    """What makes the figures mean less than they say: `saturated`, `late client`, `unfinished requests`, each in most
    repeats; `errors`, `few requests` (for a 95th percentile), over all; `client at its limit`, `compiled`, in one."""
    violations: tuple[str, ...]
    """Limits that it is shown to break: latency limits, the share of errors, the rate, and that requests end."""
    idle: int = 0
    """Repeats in which no request ended."""
    unsure: tuple[str, ...] = ()
    """Limits that it is shown neither to satisfy nor to break."""

    @property
    def void(self) -> bool:
        """Whether the client or a compiler was in the way, so that it is as if the load had never been measured."""
        return not VOID.isdisjoint(self.labels)

    @property
    def counts(self) -> bool:
        """Whether its figures may be compared: it is not void, and in every repeat some request ended."""
        return not self.void and not self.idle

    @property
    def sound(self) -> bool:
        """Whether an objective may look at it: it counts, requests end, the client is on time, the server keeps up."""
        return self.counts and not {"saturated", "late client", "errors", "unfinished requests"} & set(self.labels)

    @property
    def standing(self) -> Standing:
        """Whether a variant could be run at this load: it is sound, and all limits are kept."""
        if self.violations and not self.void:
            return "breaks"
        return "keeps" if self.sound and not self.unsure else "not shown"

    @property
    def usable(self) -> bool:
        """Whether it is shown to satisfy every limit."""
        return self.standing == "keeps"

    @property
    def in_words(self) -> str:
        """The load as a person names it."""
        return in_words(self.asked, self.unit)


@dataclass(frozen=True)
class Capacity:
    """The load within the latency limits."""

    unit: str
    asked: float | None
    """The heaviest point that is shown to satisfy them with all lighter ones; None if the lightest is not."""
    violating: tuple[float, ...]
    """Points that are shown to break one."""
    kept_again: tuple[float, ...]
    """Points that satisfy the limits although a lighter one does not."""
    not_shown: tuple[float, ...] = ()
    """Points of which neither is shown."""

    @property
    def below(self) -> float | None:
        """The lightest point that is shown to break a limit; None where none is."""
        return min(self.violating, default=None)


@dataclass(frozen=True)
class Gain:
    """One figure of a variant against the baseline's, at the same load."""

    asked: float
    unit: str
    figure: str
    base: float
    variant: float
    ratio: Ratio


@dataclass(frozen=True)
class Judged:
    """All that is said of one variant."""

    name: str
    size_bytes: int
    points: tuple[Point, ...]
    capacity: Capacity | None
    """None where the experiment has no latency limit."""
    gains: tuple[Gain, ...]
    """Against the baseline in turn with it; of the baseline those of its control, and empty without one."""
    objective: Estimate | None
    """None where no point of the load lets it be measured."""
    against_base: Lead | None
    """The objective against the baseline's; None for the baseline, and where no load is shown to be kept by both."""
    slower: str | None
    """Where its throughput is shown to be lower than the baseline's, and what is known to cause it."""
    differences: tuple[Difference, ...]
    """Against the baseline; for the baseline itself those of its control (A/A), where one was made."""
    pooled: Pooled | None
    """Over all judged tasks; None for fewer than two."""
    verdict: Verdict | None
    """None for the baseline."""
    broken_constraints: tuple[str, ...]
    """What it is shown to break."""
    evidence: dict[str, str]
    """Fingerprints of the records that this rests on."""
    unsure_constraints: tuple[str, ...] = ()
    """Constraints that it is shown neither to satisfy nor to break."""
    control: Lead | None = None
    """Of the baseline: a second start of it in turn with the first (A/A) by the objective, where one was made."""
    gpus: float = 1.0
    """GPUs of one engine; on a CPU 1."""
    price_per_hour: float | None = None
    """Price of the devices of one engine; None where none is given."""


@dataclass(frozen=True)
class OperatingPoint:
    """A variant at a load: where its ratios to the baseline at this load put it, from where the baseline is."""

    variant: str
    asked: float
    unit: str
    accuracy: float
    """Mean difference from the baseline over the judged tasks, as shares of what their metrics go to; more is better. 0
    for the baseline itself."""
    cost: float
    """Of a million output tokens: their price, or where none is given the hours of a GPU (on a CPU, of an engine)."""
    latency_ms: float
    """95th percentile of the time from sending a request to its last token."""


@dataclass(frozen=True)
class Stopped:
    """A variant that was not measured in full, as it could no longer win."""

    name: str
    rule: Literal["broken", "not acceptable", "not best"]
    reason: str
    documents: int
    """Answered by it until then."""
    evidence: tuple[str, ...]
    """Fingerprints of the records that show it."""
    at: float
    """When the last of them was finished, in seconds since 1970."""


@dataclass(frozen=True)
class Judgement:
    """The decision and its grounds.

    Of an experiment with workloads: their answers in one, and each of them with its grounds in `workloads`, as
    an experiment with that load alone would have it; then nothing stands in `judged` and `pareto` here.
    """

    answer: Answer
    recommended: str | None
    sentence: str
    judged: tuple[Judged, ...]
    pareto: tuple[OperatingPoint, ...]
    """Operating points of which no other is at least as accurate, as cheap and as quick, and better in one."""
    reasons: dict[str, str]
    """Why each variant that is not recommended lost; beside `workloads`, why some were not measured in full."""
    stopped: tuple[Stopped, ...] = ()
    """Variants that are in `judged` no more, in the order in which they were stopped."""
    workloads: dict[str, "Judgement"] = field(default_factory=dict)
    """By name; left out of decision.json where the experiment has one load."""
    baseline: str = BASE
    """The variant that the others are compared with."""

    @property
    def parts(self) -> dict[str, "Judgement"]:
        """The judgement of every load by its workload's name; the one load has none."""
        return self.workloads or {"": self}

    @property
    def deploys(self) -> bool:
        """Whether a variant is recommended for every load, other than the baseline."""
        return all(part.answer == "deploy" for part in self.parts.values())

    def to_json(self) -> str:
        """The same bytes for the same records."""
        return json.dumps(_without_no_workloads(asdict(self)), indent=2, sort_keys=True, allow_nan=False) + "\n"


def _without_no_workloads(values: dict[str, Any]) -> dict[str, Any]:
    parts = {name: _without_no_workloads(part) for name, part in values.pop("workloads").items()}
    return {**values, "workloads": parts} if parts else values


def schema() -> str:
    """The JSON schema of decision.json, published as flows/decision.schema.json."""
    return json.dumps(TypeAdapter(Judgement).json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
