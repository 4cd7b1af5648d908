"""What the records hold of one variant under one load, read once, and what they say of it by itself and of its lead."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from actors.artifacts import Checkpoint
from configs.decision import Decision
from configs.experiment import Experiment
from flows.analysis import leads, performance
from flows.analysis.judgement import Judged, Point
from flows.analysis.ratios import Spread, SpreadOf, Starts, at_every_look, no_spread, of_units, spread_of
from flows.runtime.outcome import Outcome
from flows.store.records import Record
from flows.store.results import Benchmark, Result


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
    base: list[performance.Sweep] = field(default_factory=list)
    """The baseline in turn with it; empty for the baseline where no control was made."""
    starts: Starts = ()
    """As of `flows.analysis.ratios`."""
    looks: int = 1
    """At which the repeats might have been enough."""
    gpus: float = 1.0
    """Of one engine; on a CPU 1."""
    price_per_hour: float | None = None
    """Of one engine."""
    price_of_baseline: float | None = None
    """Of one engine of the baseline's."""

    @property
    def benchmarked(self) -> leads.Benchmarked:
        price = self.price_per_hour or 1.0
        return leads.Benchmarked(self.size_bytes, self.sweeps, self.points, self.starts, self.looks, price)

    def base_of(self, size_bytes: int, decision: Decision) -> leads.Benchmarked:
        """The baseline in turn with it, which has so many bytes."""
        points, price = performance.points(self.base, decision), self.price_of_baseline or 1.0
        return leads.Benchmarked(size_bytes, self.base, points, self.starts, price_per_hour=price)

    def units(self, indices: tuple[int, int], figure: str) -> np.ndarray | None:
        """Logarithms of a figure's ratio to the baseline's, at these indices of their grids."""
        rows = zip(self.sweeps, self.base, strict=True) if self.base else ()
        return of_units(
            [(ours[indices[0]].get(figure, 0), base[indices[1]].get(figure, 0)) for ours, base in rows], self.starts
        )

    @classmethod
    def of(cls, outcome: Outcome, experiment: Experiment, workload: str) -> "Measured":
        decision, racing = experiment.decision, experiment.racing
        checkpoint, benchmarks = _records(outcome, experiment, workload)
        evaluations = [record for record in (*outcome.evaluations, outcome.control) if record]
        sweeps = performance.sweeps(benchmarks, decision.constraints)
        points = performance.points(sweeps, decision)
        size = checkpoint.result.weight_bytes
        return cls(
            name=outcome.name,
            size_bytes=size,
            sweeps=sweeps,
            points=points,
            objective=performance.objective(sweeps, points, size, decision, outcome.plan.price_per_hour),
            evidence=_evidence([checkpoint, *evaluations, *benchmarks]),
            base=performance.sweeps_of_base(benchmarks, decision.constraints),
            starts=_starts(benchmarks),
            looks=len(experiment.loads[workload].looks) + (racing.looks_at_load if racing else 0),
            gpus=outcome.plan.serving.gpus,
            price_per_hour=outcome.plan.price_per_hour,
            price_of_baseline=experiment.price_per_hour(experiment.baseline_variant),
        )


def _starts(benchmarks: Sequence[Record[Benchmark]]) -> Starts:
    """By when the engines were up; none where one start was planned, though a run that was cut short made more."""
    several = all(record.identity["settings"].get("repeats_a_start") for record in benchmarks)
    return tuple(record.result.start or 0.0 for record in benchmarks) if several else ()


def spread_among(variants: Sequence[Measured], control: Measured | None) -> SpreadOf:
    """How far ratios to the baseline vary from start to start, by everybody who was put under the same load.

    Args:
        control: the baseline, where it was benchmarked in turn with a second start of itself.
    """

    @cache
    def spread(indices: tuple[int, int], figure: str) -> Spread | None:
        of_control = control.units(indices, figure) if control and indices[0] == indices[1] else None
        units = [side.units(indices, figure) for side in variants]
        one_start = not any(side.starts for side in (*variants, *([control] if control else [])))
        return spread_of(
            [logarithms for logarithms in units if logarithms is not None], of_control, one_start=one_start
        )

    return spread


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
        gpus=measured.gpus,
        price_per_hour=measured.price_per_hour,
    )


def under_load(
    ours: Measured, base_bytes: int | None, decision: Decision, variants: int, spread: SpreadOf = no_spread
) -> Judged:
    """A variant by its size and one load, and how it leads the baseline that was benchmarked in turn with it.

    Args:
        base_bytes: size of the baseline's checkpoint; None where it is not known yet.
        variants: how many are compared with the baseline.
        spread: as of `spread_among`.
    """
    judged = described(ours, decision)
    if base_bytes is None or not ours.base:
        return judged
    confidence = at_every_look(decision.confidence, ours.looks)
    return replace(
        judged,
        gains=performance.gains(ours.sweeps, ours.base, confidence, ours.starts, spread),
        against_base=leads.lead(ours.benchmarked, ours.base_of(base_bytes, decision), decision, variants, spread),
    )


def surely_broken(ours: Measured, decision: Decision, variants: int) -> tuple[str, ...]:
    """Constraints that a variant is shown to break, for all variants at once and at every look.

    Args:
        variants: how many are compared with the baseline.
    """
    wide = decision.over(variants * ours.looks)
    return _constraints(replace(ours, points=performance.points(ours.sweeps, wide)), wide)[0]


def base_under_load(base: Measured, decision: Decision, spread: SpreadOf) -> Judged:
    """The baseline by itself, and where it was benchmarked in turn with a second start of itself, against that."""
    judged = described(base, decision)
    if not base.base:
        return judged
    by_itself = spread if base.starts else no_spread  # of one start, that is added which is shown here
    control = None
    if decision.objective not in ("size", "capacity"):
        control = leads.lead(base.benchmarked, base.base_of(base.size_bytes, decision), decision, 1, by_itself)
    confidence = at_every_look(decision.confidence, base.looks)
    gains = performance.gains(base.sweeps, base.base, confidence, base.starts, by_itself)
    return replace(judged, gains=gains, control=control)


def _records(
    outcome: Outcome, experiment: Experiment, workload: str
) -> tuple[Record[Checkpoint], list[Record[Benchmark]]]:
    """The checkpoint, and the repeats of one load."""
    if outcome.checkpoint is None or not any(outcome.benchmarks):
        raise ValueError(f"{outcome.name} was not benchmarked")
    benchmarks = zip(experiment.benchmarks, outcome.benchmarks, strict=True)
    return outcome.checkpoint, [record for (name, _), record in benchmarks if record and name == workload]


def _evidence(records: Sequence[Record[Result]]) -> dict[str, str]:
    """Fingerprints by step; repeats and controls are numbered."""
    fingerprints: dict[str, str] = {}
    for record in records:
        again = sum(name.split()[0] == record.kind for name in fingerprints)
        fingerprints[f"{record.kind} {again + 1}" if again else record.kind] = record.fingerprint
    return fingerprints


def _constraints(measured: Measured, decision: Decision) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a variant is shown to break, and what it is shown neither to keep to nor to break."""
    limit, size = decision.constraints.max_size_gb, measured.size_bytes / 1e9
    too_big = [f"size is {size:.4g} GB, over the limit of {limit:g} GB"] if limit is not None and size > limit else []
    points = sorted((point for point in measured.points if not point.void), key=lambda point: point.asked)
    if any(point.usable for point in points):
        return tuple(too_big), ()
    unknown = [point for point in points if point.standing == "not shown"]
    if unknown or not points:
        return tuple(too_big), _why_unknown(unknown[0]) if unknown else ()
    return (*too_big, *(f"{violation} at the lightest load" for violation in points[0].violations)), ()


def _why_unknown(point: Point) -> tuple[str, ...]:
    return tuple(f"{reason} at {point.in_words}" for reason in point.unsure or point.labels)
