"""Who can no longer win, by the records so far. Pure functions.

A variant is stopped where a proxy says that it is broken, where its loss is shown to be beyond the
margin, or where somebody better is already certain: better by the objective after the whole load, or shown to be
better after its first part. The looks at a variant's accuracy are planned beforehand, so
its error rate is split evenly over them, and over the tasks (Bonferroni): whenever one looks, the chance
that a variant within the margin is stopped stays below the rate. Its bounds are those of bounded means
(`flows.statistics.bounded_mean`), of right and wrong too: they hold at such rare errors, however skewed a score is.
The last slice is judged like any other evaluation (`flows.analysis.compare`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from actors.artifacts import Evaluation
from configs.accuracy import Task
from configs.decision import Decision
from configs.experiment import Experiment
from flows.analysis import accuracy, answers
from flows.analysis.answers import Answers
from flows.analysis.decide import leads, rival_of, standing
from flows.analysis.judgement import Judged, Stopped
from flows.analysis.leads import InTurn, behind, excluded
from flows.analysis.measured import Measured, surely_broken
from flows.analysis.ratios import SpreadOf
from flows.analysis.reasons import describe_objective, fits, rank, times
from flows.runtime.outcome import Outcome
from flows.store.records import Record


@dataclass(frozen=True)
class Look:
    """A variant and the baseline after the same slices."""

    answers: Answers
    base: Answers
    evidence: tuple[Record[Evaluation], ...]


def beaten(outcome: Outcome, base: Outcome, experiment: Experiment) -> Stopped | None:
    """Why a variant cannot be acceptable, as the first look shows at which that is certain."""
    racing = experiment.racing
    if racing is None or outcome is base:
        return None
    if outcome.proxy and base.proxy and (stop := _broken(outcome.proxy, base.proxy, experiment)):
        return replace(stop, name=outcome.name)
    decision = at_every_look(experiment.decision, racing.error_rate, looks=len(racing.looks))
    for count in range(1, len(racing.looks) + 1):
        look = _look(outcome, base, experiment, count)
        if look is None:
            return None
        if stop := beyond_margin(look, decision):
            return replace(stop, name=outcome.name)
    return None


def at_every_look(decision: Decision, error_rate: float, *, looks: int) -> Decision:
    """The same decision, with intervals so wide that all looks together err as rarely as this: one side of
    each is `error_rate / looks`."""
    return decision.model_copy(update={"confidence": 1 - 2 * error_rate / looks})


def beyond_margin(look: Look, decision: Decision) -> Stopped | None:
    """The loss that a look shows to be beyond the limit, if any. Metrics of all documents together stop nobody:
    a bootstrap has too few resamples for so rare an error."""
    judged = {task: base for task, base in look.base.items() if task in look.answers and base.means}
    confidence = 1 - (1 - decision.confidence) / max(1, len(judged))
    wide = decision.model_copy(update={"confidence": confidence})
    for difference in accuracy.differences(look.answers, judged, wide, seed=0, rare_errors=True):
        if difference.verdict == "fail":
            return Stopped(
                name="",
                rule="not acceptable",
                reason=f"{difference.task} {difference.metric} changes by {difference.difference:+.3f} "
                f"[{difference.low:+.3f}, {difference.high:+.3f}] after {difference.documents} documents, "
                f"beyond {difference.limit} at every look",
                documents=difference.documents,
                evidence=tuple(record.fingerprint for record in look.evidence),
                at=max((record.finished_at for record in look.evidence), default=0.0),
            )
    return None


def not_best(outcome: Outcome, reason: str) -> Stopped:
    """A variant that is benchmarked, and cannot be recommended any more."""
    latest = max((r.finished_at for r in (*outcome.evaluations, *outcome.benchmarks) if r), default=0.0)
    documents = sum(_documents(record) for record in outcome.evaluations if record)
    evidence = tuple(r.fingerprint for r in (*outcome.evaluations, *outcome.benchmarks) if r)
    return Stopped(outcome.name, "not best", reason, documents, evidence, latest)


def why_not_best(ours: Judged, judged: Sequence[Judged], decision: Decision) -> str | None:
    """Why a variant cannot be recommended for a load, whatever its accuracy: it breaks a constraint, or somebody who
    is certain to be acceptable stands before it: the baseline only where the variant is shown to have no gain, as
    it would be kept then.

    Args:
        judged: those that were measured in full, the baseline first.
    """
    base, rival = judged[0], rival_of(judged[0])
    if ours.broken_constraints:
        return "; ".join(ours.broken_constraints)
    beaten = ours.against_base is not None and excluded(ours.against_base, decision)
    certain = [v for v in judged if fits(v) and (v.verdict == "pass" or (v is base and beaten))]
    first = min(certain, key=lambda v: standing(v, rival, decision), default=None)
    if first is None or standing(first, rival, decision) > standing(ours, rival, decision):
        return None
    value = f"{ours.objective.mean:.4g}" if ours.objective else "no load that counts"
    best = describe_objective(first, decision)
    if rank(first, decision) <= rank(ours, decision):
        return f"{first.name} already passes and has the better {best}; this one has {value}"
    if first.against_base and leads(ours, rival, decision):
        more = f"leads the baseline by more ({times(first.against_base)})"
        return f"{first.name} already passes and {more}; this one has {value}"
    return f"{first.name} already passes and beats the baseline: {best}; this one ({value}) is not shown to beat it"


@dataclass(frozen=True)
class Field:
    """Everybody who races under one load."""

    variants: Mapping[str, Measured]
    base_bytes: int
    compared: int
    """How many are compared with the baseline."""
    spread: SpreadOf

    def in_turn(self, name: str, decision: Decision) -> InTurn:
        """A variant, and the baseline beside it."""
        measured = self.variants[name]
        return measured.benchmarked, measured.base_of(self.base_bytes, decision)


def why_behind(ours: Judged, judged: Sequence[Judged], field: Field, decision: Decision) -> str | None:
    """The same as `why_not_best` of a variant that was put under the first part of a load alone: it has to be shown,
    for all variants at once, as more repeats might say otherwise."""
    base = judged[0]
    if broken := surely_broken(field.variants[ours.name], decision, field.compared):
        return "; ".join(broken)
    lead = ours.against_base
    if fits(base) and lead is not None and excluded(lead, decision):
        return f"{times(lead)} excludes a gain above {100 * decision.min_gain:g} %"
    mine = field.in_turn(ours.name, decision)
    for best in judged[1:]:
        certain = fits(best) and best.verdict == "pass"
        if certain and behind(mine, field.in_turn(best.name, decision), decision, field.compared, field.spread):
            leads = [times(side.against_base) for side in (best, ours) if side.against_base]
            return f"{best.name} already passes and is shown to lead by more ({' against '.join(leads)})"
    return None


def _look(outcome: Outcome, base: Outcome, experiment: Experiment, count: int) -> Look | None:
    ours, theirs = ([r for r in side.evaluations[:count] if r] for side in (outcome, base))
    if len(ours) < count or len(theirs) < count:
        return None
    tasks = experiment.accuracy.tasks
    return Look(answers.read(ours, tasks), answers.read(theirs, tasks), (*ours, *theirs))


def _broken(ours: Record[Evaluation], theirs: Record[Evaluation], experiment: Experiment) -> Stopped | None:
    """A perplexity so much worse than the baseline's that no task has to be evaluated."""
    if experiment.racing is None:
        return None
    text, limit = experiment.racing.proxy, experiment.racing.max_perplexity_ratio
    metric, value = _perplexity(ours, text)
    ratio = value / _perplexity(theirs, text)[1]
    if ratio <= limit:
        return None
    return Stopped(
        name="",
        rule="broken",
        reason=f"{metric} of {text.name} is {ratio:.3g}x the baseline's, over the limit of {limit:g}",
        documents=_documents(ours),
        evidence=(ours.fingerprint, theirs.fingerprint),
        at=max(ours.finished_at, theirs.finished_at),
    )


def _perplexity(record: Record[Evaluation], text: Task) -> tuple[str, float]:
    """The proxy's metric, and a perplexity: bits are its logarithm."""
    ((name, answered),) = answers.read([record], [text]).items()
    value = answers.overall({name: answered})[f"{name}.{answered.metric}"]
    return answered.metric, 2**value if answered.kind == "bits_per_byte" else value


def _documents(record: Record[Evaluation]) -> int:
    return sum(scores.documents for scores in record.result.tasks.values())
