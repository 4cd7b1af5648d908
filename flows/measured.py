"""What the records hold of one variant under one load, read once, and what they say of it by itself and of its lead."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from configs.decision import Decision
from configs.experiment import Experiment
from flows import leads, performance
from flows.context import Outcome
from flows.judgement import Judged, Point
from flows.records import Record


@dataclass(frozen=True)
class Measured:
    """What a variant's records hold of one load, read once."""

    name: str
    size_bytes: int
    sweeps: list[performance.Sweep]
    points: tuple[Point, ...]
    objective: list[float] | None
    """Its value in every repeat."""
    evidence: dict[str, str]

    @property
    def loaded(self) -> leads.Loaded:
        return leads.Loaded(self.size_bytes, self.sweeps, self.points)

    @classmethod
    def of(cls, outcome: Outcome, experiment: Experiment, workload: str) -> "Measured":
        decision = experiment.decision
        checkpoint, benchmarks = _records(outcome, experiment, workload)
        evaluations = [record for record in (*outcome.evaluations, outcome.control) if record]
        sweeps = performance.sweeps(benchmarks, decision.constraints)
        points = performance.points(sweeps, decision)
        size = checkpoint.result["weight_bytes"]
        return cls(
            name=outcome.name,
            size_bytes=size,
            sweeps=sweeps,
            points=points,
            objective=performance.objective(sweeps, points, size, decision),
            evidence=_evidence([checkpoint, *evaluations, *benchmarks]),
        )


def described(measured: Measured, decision: Decision) -> Judged:
    """A variant by itself."""
    values, (broken, unsure) = measured.objective, _constraints(measured, decision)
    return Judged(
        name=measured.name,
        size_bytes=measured.size_bytes,
        points=measured.points,
        capacity=performance.capacity(measured.points) if decision.constraints.latency_limits_ms else None,
        gains=(),
        objective=performance.estimate(values, decision.confidence) if values else None,
        against_base=None,
        slower=None,
        differences=(),
        pooled=None,
        verdict=None,
        broken_constraints=broken,
        evidence=measured.evidence,
        unsure_constraints=unsure,
    )


def under_load(ours: Measured, theirs: Measured | None, decision: Decision, variants: int) -> Judged:
    """A variant by its size and one load, and how it leads the base where that was loaded, too."""
    found = described(ours, decision)
    if theirs is None:
        return found
    return replace(
        found,
        gains=performance.gains(ours.sweeps, theirs.sweeps, decision.confidence),
        against_base=leads.lead(ours.loaded, theirs.loaded, decision, variants),
    )


def _records(outcome: Outcome, experiment: Experiment, workload: str) -> tuple[Record, list[Record]]:
    """The checkpoint, and the repeats of one load."""
    if outcome.checkpoint is None or not outcome.loaded:
        raise ValueError(f"{outcome.name} was not put under load completely")
    asked = zip(experiment.benchmarks, outcome.benchmarks, strict=True)
    return outcome.checkpoint, [record for (name, _), record in asked if record and name == workload]


def _evidence(records: Sequence[Record]) -> dict[str, str]:
    """Fingerprints by step; repeats and controls are numbered."""
    found: dict[str, str] = {}
    for record in records:
        again = sum(name.split()[0] == record.kind for name in found)
        found[f"{record.kind} {again + 1}" if again else record.kind] = record.fingerprint
    return found


def _constraints(measured: Measured, decision: Decision) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a variant is shown to break, and what it is shown neither to keep to nor to break."""
    limit, size = decision.constraints.max_size_gb, measured.size_bytes / 1e9
    too_big = [f"size is {size:.4g} GB, over the limit of {limit:g} GB"] if limit is not None and size > limit else []
    asked = sorted((point for point in measured.points if not point.void), key=lambda point: point.asked)
    if any(point.usable for point in asked):
        return tuple(too_big), ()
    unknown = [point for point in asked if point.standing == "not shown"]
    if unknown or not asked:
        return tuple(too_big), _why_unknown(unknown[0]) if unknown else ()
    return (*too_big, *(f"{found} at the lightest load" for found in asked[0].violations)), ()


def _why_unknown(point: Point) -> tuple[str, ...]:
    return tuple(f"{found} at {point.in_words}" for found in point.unsure or point.labels)
