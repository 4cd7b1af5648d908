"""Who can no longer win, by the records so far. Pure functions.

A variant is stopped where a proxy says that it is broken, where its loss is shown to be beyond the
margin, or where somebody better is already certain. The looks at a variant are planned beforehand, so
its error rate is split evenly over them, and over the tasks (Bonferroni): whenever one looks, the chance
that a variant within the margin is stopped stays below the rate. Its bounds are those of bounded means
(`flows.statistics.bounded_mean`), of right and wrong too: they hold at such rare errors, however skewed a score is.
The last slice is judged like any other evaluation (`flows.analysis.compare`).
"""

from dataclasses import dataclass, replace

from actors.artifacts import Evaluation
from configs.accuracy import Task
from configs.decision import Decision
from configs.experiment import Experiment
from flows.analysis import accuracy, answers
from flows.analysis.answers import Answers
from flows.analysis.judgement import Stopped
from flows.runtime.outcome import Outcome
from flows.store.records import Record


@dataclass(frozen=True)
class Look:
    """A variant and the base after the same slices."""

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


def _look(outcome: Outcome, base: Outcome, experiment: Experiment, count: int) -> Look | None:
    ours, theirs = ([r for r in side.evaluations[:count] if r] for side in (outcome, base))
    if len(ours) < count or len(theirs) < count:
        return None
    tasks = experiment.accuracy.tasks
    return Look(answers.read(ours, tasks), answers.read(theirs, tasks), (*ours, *theirs))


def _broken(ours: Record[Evaluation], theirs: Record[Evaluation], experiment: Experiment) -> Stopped | None:
    """A perplexity so much worse than the base's that no task has to be evaluated."""
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
        reason=f"{metric} of {text.name} is {ratio:.3g}x the base's, over the limit of {limit:g}",
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
