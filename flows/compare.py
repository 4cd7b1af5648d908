"""What the records say of every variant, put together: accuracy, performance, decision. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from statsmodels.stats.multitest import multipletests

from configs.accuracy import Accuracy
from configs.decision import Decision
from configs.experiment import Experiment
from configs.hardware import Hardware
from flows import accuracy, performance, racing
from flows.context import Outcome, Run
from flows.decide import better, decide, rank
from flows.judgement import Judged, Judgement, Point, Stopped, Verdict, load_in_words
from flows.records import Record


def judge(run: Run) -> Judgement:
    """The judgement over every variant that was measured completely."""
    decision, asked = run.plan.experiment.decision, run.plan.experiment.accuracy
    reasons = {o.name: o.failure for o in run.outcomes.values() if o.failure}
    base = run.base
    if not base.complete:
        sentence = f"Nothing can be compared: the base model was not measured ({base.failure})."
        return Judgement("nothing was measured", None, sentence, (), (), reasons)
    theirs = _Measured.of(base, decision, asked)
    controlled = _controlled(_described(theirs, decision), theirs, base.control, decision, asked)
    variants = [outcome for outcome in run.outcomes.values() if outcome.complete and outcome is not base]
    judged = [_compared(_Measured.of(outcome, decision, asked), theirs, decision, asked.seed) for outcome in variants]
    judged = [replace(v, slower=_slower(v, run.outcomes[v.name], run.plan.hardware)) for v in judged]
    ended = stopped(run, [controlled, *judged])
    reasons |= {found.name: f"stopped after {found.documents} documents: {found.reason}" for found in ended}
    return replace(decide([controlled, *corrected(judged)], decision, reasons), stopped=ended)


def stopped(run: Run, judged: Sequence[Judged] | None = None) -> tuple[Stopped, ...]:
    """Variants that the records so far show to have lost, though they were not measured in full.

    Args:
        judged: those that were measured in full, the base first; None to judge them here.
    """
    experiment, base = run.plan.experiment, run.base
    if experiment.racing is None or not base.complete:
        return ()
    if judged is None:
        judged = judge(run).judged
    found = []
    for outcome in run.outcomes.values():
        if outcome.complete or outcome.failure:
            continue
        reason = racing.hopeless(outcome, base, experiment)
        if reason is None and outcome.checkpoint and outcome.loaded:
            reason = _not_best(outcome, judged, experiment)
        if reason is not None:
            found.append(reason)
    return tuple(sorted(found, key=lambda stop: (stop.at, stop.name)))


def _not_best(outcome: Outcome, judged: Sequence[Judged], experiment: Experiment) -> Stopped | None:
    decision = experiment.decision
    ours = _described(_Measured.of(outcome, decision, experiment.accuracy), decision)
    fit = [v for v in judged if v.objective and not v.broken_constraints]
    certain = [v for v in fit if v is judged[0] or v.verdict == "pass"]
    ahead = sorted((v for v in certain if rank(v, decision) <= rank(ours, decision)), key=lambda v: rank(v, decision))
    return racing.not_best(outcome, ours, ahead)


def score(run: Run, outcome: Outcome) -> float | None:
    """What a search maximizes: the objective, turned so that more is better; None for a variant that is not
    measured in full, breaks a constraint or loses too much accuracy."""
    base, decision, asked = run.base, run.plan.experiment.decision, run.plan.experiment.accuracy
    if not (outcome.complete and base.complete):
        return None
    found = _compared(_Measured.of(outcome, decision, asked), _Measured.of(base, decision, asked), decision, asked.seed)
    if found.objective is None or found.broken_constraints or found.verdict == "fail":
        return None
    return better(decision) * found.objective.mean


def standing(outcome: Outcome, run: Run) -> tuple[float, str]:
    """What loaded variants are sorted by, the best by the objective first."""
    decision = run.plan.experiment.decision
    return rank(_described(_Measured.of(outcome, decision, run.plan.experiment.accuracy), decision), decision)


@dataclass(frozen=True)
class _Measured:
    """What a variant's records hold, read once."""

    name: str
    size_bytes: int
    answers: accuracy.Answers
    sweeps: list[performance.Sweep]
    points: tuple[Point, ...]
    objective: list[float] | None
    """Its value in every repeat."""
    evidence: dict[str, str]

    @classmethod
    def of(cls, outcome: Outcome, decision: Decision, asked: Accuracy) -> "_Measured":
        checkpoint, benchmarks = _records(outcome)
        evaluations = [record for record in outcome.evaluations if record]
        sweeps = performance.sweeps(benchmarks, decision.constraints)
        points = performance.points(sweeps, decision)
        size = checkpoint.result["weight_bytes"]
        return cls(
            name=outcome.name,
            size_bytes=size,
            answers=accuracy.read(evaluations, asked.tasks),
            sweeps=sweeps,
            points=points,
            objective=performance.objective(sweeps, points, size, decision),
            evidence=_evidence([checkpoint, *evaluations, *filter(None, [outcome.control]), *benchmarks]),
        )


def _described(measured: _Measured, decision: Decision) -> Judged:
    """A variant by itself."""
    values = measured.objective
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
        broken_constraints=_broken(measured, decision),
        evidence=measured.evidence,
    )


def _compared(ours: _Measured, theirs: _Measured, decision: Decision, seed: int) -> Judged:
    """A variant against the base."""
    against = None
    if ours.objective and theirs.objective:
        against = performance.lead(ours.objective, theirs.objective, better(decision), decision)
    differences = accuracy.differences(ours.answers, theirs.answers, decision, seed)
    return replace(
        _described(ours, decision),
        gains=performance.gains(ours.sweeps, theirs.sweeps, decision.confidence),
        against_base=against,
        differences=differences,
        pooled=accuracy.over_tasks(differences, decision.constraints.max_accuracy_drop),
        verdict=_worst([d.verdict for d in differences if d.verdict]),
    )


def _slower(variant: Judged, outcome: Outcome, hardware: Hardware) -> str | None:
    """Where a variant is shown to be slower than the base, and why."""
    speeds = [gain for gain in variant.gains if gain.figure == "output_tokens_per_second"]
    lower = [gain for gain in speeds if gain.ratio.high is not None and gain.ratio.high < 1]
    if not lower:
        return None
    worst = min(lower, key=lambda gain: gain.ratio.value)
    cause = outcome.plan.scheme.why_slower_on(hardware) if outcome.plan.scheme else None
    load = load_in_words(worst.asked, worst.unit)
    return f"{worst.ratio.value:.2f} times the base's tokens/s at {load}; {cause or 'the cause is not known'}"


def _controlled(base: Judged, theirs: _Measured, control: Record | None, decision: Decision, asked: Accuracy) -> Judged:
    """The base with what differs when nothing differs but the size of the batches; it gets no verdict."""
    if control is None:
        return base
    again = accuracy.differences(accuracy.read([control], asked.tasks), theirs.answers, decision, asked.seed)
    unjudged = (replace(d, verdict=None, smallest_detectable=None, documents_needed=None) for d in again)
    return replace(base, differences=tuple(unjudged))


def _records(outcome: Outcome) -> tuple[Record, list[Record]]:
    if outcome.checkpoint is None or not outcome.loaded:
        raise ValueError(f"{outcome.name} was not put under load completely")
    return outcome.checkpoint, [record for record in outcome.benchmarks if record]


def corrected(judged: Sequence[Judged]) -> list[Judged]:
    """The same variants with every p-value corrected over the variants that took its task (Holm 1979)."""
    families: dict[tuple[str, str], dict[str, float]] = {}
    for variant in judged:
        for found in variant.differences:
            if found.p_value is not None:
                families.setdefault((found.task, found.metric), {})[variant.name] = found.p_value
    holm = {
        key: dict(zip(family, multipletests(list(family.values()), method="holm")[1].tolist(), strict=True))
        for key, family in families.items()
    }
    return [
        replace(
            variant,
            differences=tuple(
                replace(found, p_holm=holm.get((found.task, found.metric), {}).get(variant.name))
                for found in variant.differences
            ),
        )
        for variant in judged
    ]


def _evidence(records: Sequence[Record]) -> dict[str, str]:
    """Fingerprints by step; repeats and controls are numbered."""
    found: dict[str, str] = {}
    for record in records:
        again = sum(name.split()[0] == record.kind for name in found)
        found[f"{record.kind} {again + 1}" if again else record.kind] = record.fingerprint
    return found


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("fail", "inconclusive", "pass")
    return next((v for v in order if v in verdicts), "inconclusive")


def _broken(measured: _Measured, decision: Decision) -> tuple[str, ...]:
    limits, size = decision.constraints, measured.size_bytes / 1e9
    broken = []
    if limits.latency_limits_ms and not any(point.usable for point in measured.points):
        lightest = measured.points[0]
        broken += [f"{found} at the lightest load" for found in lightest.violations] or list(lightest.labels)
    if limits.max_size_gb is not None and size > limits.max_size_gb:
        broken.append(f"size is {size:.4g} GB, over the limit of {limits.max_size_gb:g} GB")
    return tuple(broken)
