"""What the records say of every variant, put together: accuracy, performance, decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from statsmodels.stats.multitest import multipletests

from configs.accuracy import Accuracy
from configs.decision import Decision
from configs.experiment import ONLY, Experiment, section
from configs.hardware import Hardware
from configs.load import in_words
from flows.analysis import accuracy, answers, early_stopping
from flows.analysis.decide import decide, for_all, rival_of, standing
from flows.analysis.early_stopping import Field
from flows.analysis.judgement import Difference, Judged, Judgement, Stopped, Verdict
from flows.analysis.measured import Measured, base_under_load, described, spread_among, under_load
from flows.analysis.ratios import SpreadOf
from flows.analysis.reasons import better
from flows.runtime.outcome import Evidence, Outcome


def judge(evidence: Evidence) -> Judgement:
    """The judgement over every variant that was measured completely, for every load."""
    experiment, base = evidence.experiment, evidence.baseline
    reasons = {name: outcome.failure for name, outcome in evidence.variants.items() if outcome.failure}
    if not base.complete:
        why = base.failure or f"{base.missing} missing"
        sentence = f"Nothing can be compared: the baseline was not measured in full ({why})."
        return Judgement("nothing was measured", None, sentence, (), (), reasons, baseline=base.name)
    differences = _differences(evidence)
    benchmarked = {workload: _Benchmarked.of(evidence, workload) for workload in experiment.loads}
    judged = {workload: _judged(evidence, everybody, differences) for workload, everybody in benchmarked.items()}
    ended = _stopped(evidence, benchmarked, judged)
    reasons |= {stop.name: f"stopped after {stop.documents} documents: {stop.reason}" for stop in ended}
    unfinished = [o for o in evidence.variants.values() if not o.complete and o.name not in reasons]
    reasons |= {o.name: f"not measured in full: {o.missing} missing" for o in unfinished}
    still_open = [f"{len(unfinished)} of {len(evidence.variants)} variants"] if unfinished else []
    still_open += ["the search's next variants"] if evidence.search_goes_on else []
    settings, final = experiment.decision, not still_open
    decided = {
        workload: decide(variants, settings, reasons, section(workload), final=final, stopped=ended)
        for workload, variants in judged.items()
    }
    judgement = for_all(decided, reasons, ended) if experiment.workloads else decided[ONLY]
    if final:
        return judgement
    return replace(
        judgement, sentence=f"Not measured in full: {' and '.join(still_open)}. So far: {judgement.sentence}"
    )


def _judged(
    evidence: Evidence, benchmarked: "_Benchmarked", differences: Mapping[str, tuple[Difference, ...]]
) -> list[Judged]:
    """Every variant that was measured completely under one load, the baseline first."""
    decision, variants = evidence.experiment.decision, []
    for name in differences:
        if name != evidence.baseline.name:
            compared = _compared(benchmarked.judged(name, decision, evidence.compared), differences[name])
            slower = _slower(compared, evidence.variants[name], evidence.hardware)
            variants.append(replace(compared, slower=slower))
    base = base_under_load(benchmarked.base, decision, benchmarked.spread)
    return [replace(base, differences=differences[base.name]), *corrected(variants)]


@dataclass(frozen=True)
class _Benchmarked:
    """Everybody who was put under one load, or where variants race under its first part."""

    base: Measured
    variants: dict[str, Measured]
    spread: SpreadOf

    @classmethod
    def of(cls, evidence: Evidence, workload: str) -> "_Benchmarked":
        benchmarked = [outcome for outcome in evidence.variants.values() if outcome.checkpoint and outcome.screened]
        variants = {outcome.name: Measured.of(outcome, evidence.experiment, workload) for outcome in benchmarked}
        base = variants.pop(evidence.baseline.name)
        return cls(base, variants, spread_among(list(variants.values()), base if base.base else None))

    def judged(self, name: str, decision: Decision, variants: int) -> Judged:
        """A variant by its size and its load.

        Args:
            variants: how many are compared with the baseline.
        """
        return under_load(self.variants[name], self.base.size_bytes, decision, variants, self.spread)


def accuracy_of(evidence: Evidence) -> Decision:
    """The decision with the intervals that verdicts of accuracy go by: for all variants at once, and never narrower
    than the configured confidence makes them, as they are shown, too."""
    return evidence.experiment.decision.over(max(2, evidence.compared))


def fails(evidence: Evidence, outcome: Outcome) -> bool:
    """Whether the accuracy of a variant that was evaluated in full, as the baseline was, is shown to fail."""
    if not (outcome.evaluated and evidence.baseline.evaluated):
        return False
    return any(difference.verdict == "fail" for difference in _between(evidence, outcome))


def _between(evidence: Evidence, outcome: Outcome) -> tuple[Difference, ...]:
    """How a variant answers otherwise than the baseline; both were evaluated in full."""
    settings = evidence.experiment.accuracy
    ours, theirs = _answers(outcome, settings), _answers(evidence.baseline, settings)
    return accuracy.differences(ours, theirs, accuracy_of(evidence), settings.seed)


def _differences(evidence: Evidence) -> dict[str, tuple[Difference, ...]]:
    """How every variant that was measured completely answers otherwise than the baseline, which comes first: with
    what differs when nothing does but the size of its batches."""
    base, settings, decision = evidence.baseline, evidence.experiment.accuracy, accuracy_of(evidence)
    theirs = _answers(base, settings)
    differences = {base.name: _of_the_control(base, theirs, settings, decision)}
    for outcome in evidence.variants.values():
        if outcome.complete and outcome.name != base.name:
            differences[outcome.name] = accuracy.differences(
                _answers(outcome, settings), theirs, decision, settings.seed
            )
    return differences


def _answers(outcome: Outcome, settings: Accuracy) -> answers.Answers:
    return answers.read([record for record in outcome.evaluations if record], settings.tasks)


def _of_the_control(
    base: Outcome, theirs: answers.Answers, settings: Accuracy, decision: Decision
) -> tuple[Difference, ...]:
    """They get no verdict; none where no control was made."""
    if base.control is None:
        return ()
    again = accuracy.differences(answers.read([base.control], settings.tasks), theirs, decision, settings.seed)
    return tuple(replace(d, verdict=None, smallest_detectable=None, documents_needed=None) for d in again)


def stopped(evidence: Evidence) -> tuple[Stopped, ...]:
    """Variants that the records so far show to have lost, though they were not measured in full."""
    return judge(evidence).stopped if evidence.experiment.racing else ()


def _stopped(
    evidence: Evidence, benchmarked: Mapping[str, _Benchmarked], judged: Mapping[str, Sequence[Judged]]
) -> tuple[Stopped, ...]:
    """Those of `stopped`.

    Args:
        judged: by workload those that were measured in full, the baseline first.
    """
    experiment, stops = evidence.experiment, []
    if experiment.racing is None:
        return ()
    for outcome in evidence.variants.values():
        if outcome.complete or outcome.failure:
            continue
        reason = early_stopping.beaten(outcome, evidence.baseline, experiment)
        if reason is None and outcome.checkpoint and outcome.screened:
            reason = _best_nowhere(outcome, benchmarked, judged, experiment, evidence.compared)
        if reason is not None:
            stops.append(reason)
    return tuple(sorted(stops, key=lambda stop: (stop.at, stop.name)))


def _best_nowhere(
    outcome: Outcome,
    benchmarked: Mapping[str, _Benchmarked],
    judged: Mapping[str, Sequence[Judged]],
    experiment: Experiment,
    variants: int,
) -> Stopped | None:
    """Why a variant can be recommended for no load any more.

    Args:
        variants: how many are compared with the baseline.
    """
    reasons, decision = {}, experiment.decision
    for workload, everybody in benchmarked.items():
        ours = everybody.judged(outcome.name, decision, variants)
        if outcome.benchmarked:
            reasons[workload] = early_stopping.why_not_best(ours, judged[workload], decision)
        else:
            field = Field(everybody.variants, everybody.base.size_bytes, variants, everybody.spread)
            reasons[workload] = early_stopping.why_behind(ours, judged[workload], field, decision)
    if not all(reasons.values()):
        return None
    words = (f"{workload}: {reason}" if workload else str(reason) for workload, reason in reasons.items())
    return early_stopping.not_best(outcome, "; ".join(words))


def score(evidence: Evidence, name: str) -> float | None:
    """What a search maximizes under the one load: the objective, turned so that more is better; None for a
    variant that is not measured in full, breaks a constraint or loses too much accuracy."""
    decision, outcome = evidence.experiment.decision, evidence.variants[name]
    if not (outcome.complete and evidence.baseline.complete):
        return None
    judged = _Benchmarked.of(evidence, ONLY).judged(name, decision, evidence.compared)
    compared = _compared(judged, _between(evidence, outcome))
    if compared.objective is None or compared.broken_constraints or compared.verdict == "fail":
        return None
    return better(decision) * compared.objective.mean


def ranking(evidence: Evidence, benchmarked: Sequence[Outcome]) -> list[str]:
    """Names of variants that were benchmarked, first whom the decision would take if all passed; of several workloads
    each names its first, then each its second."""
    experiment, decision, orders = evidence.experiment, evidence.experiment.decision, []
    for workload in experiment.loads:
        if evidence.baseline.checkpoint and evidence.baseline.benchmarked:
            everybody = _Benchmarked.of(evidence, workload)
            base = described(everybody.base, decision)
            names, variants = [outcome.name for outcome in benchmarked], evidence.compared
            judged = [base if n == base.name else everybody.judged(n, decision, variants) for n in names]
            rival = rival_of(base)
        else:
            rival = None
            judged = [described(Measured.of(outcome, experiment, workload), decision) for outcome in benchmarked]
        orders.append([variant.name for variant in sorted(judged, key=lambda v: standing(v, rival, decision))])
    return list(dict.fromkeys(name for tier in zip(*orders, strict=True) for name in tier))


def _compared(judged: Judged, differences: tuple[Difference, ...]) -> Judged:
    """A variant against the baseline by its accuracy, too."""
    return replace(
        judged,
        differences=differences,
        pooled=accuracy.over_tasks(differences),
        verdict=_worst([d.verdict for d in differences if d.verdict]),
    )


def _slower(variant: Judged, outcome: Outcome, hardware: Hardware) -> str | None:
    """Where a variant is shown to be slower than the baseline, and why."""
    speeds = [gain for gain in variant.gains if gain.figure == "output_tokens_per_second"]
    lower = [gain for gain in speeds if gain.ratio.high is not None and gain.ratio.high < 1]
    if not lower:
        return None
    worst = min(lower, key=lambda gain: gain.ratio.value)
    cause = outcome.plan.scheme.why_slower_on(hardware) if outcome.plan.scheme else None
    load = in_words(worst.asked, worst.unit)
    return f"{worst.ratio.value:.2f}x the baseline's tokens/s at {load}; {cause or 'the cause is not known'}"


def corrected(judged: Sequence[Judged]) -> list[Judged]:
    """The same variants with every p-value corrected over the variants that took its task (Holm 1979)."""
    families: dict[tuple[str, str], dict[str, float]] = {}
    for variant in judged:
        for difference in variant.differences:
            if difference.p_value is not None:
                families.setdefault((difference.task, difference.metric), {})[variant.name] = difference.p_value
    holm = {
        key: dict(zip(family, multipletests(list(family.values()), method="holm")[1].tolist(), strict=True))
        for key, family in families.items()
    }
    return [
        replace(
            variant,
            differences=tuple(
                replace(difference, p_holm=holm.get((difference.task, difference.metric), {}).get(variant.name))
                for difference in variant.differences
            ),
        )
        for variant in judged
    ]


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("fail", "inconclusive", "pass")
    return next((v for v in order if v in verdicts), "inconclusive")
