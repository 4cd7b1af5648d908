"""What the same documents say of a variant against the base. Pure functions.

The interval of the mean difference, exact McNemar (McNemar 1947) for right/wrong metrics, flips in both
directions, recovery with its interval. A variant passes a task when the whole interval lies above minus
the margin (non-inferiority), fails when it lies below, and is inconclusive otherwise; then the smallest
loss that so many documents could have shown is given, and how many documents would settle it.
Perplexity is shown beside it and judges nobody: a proxy never ranks good variants.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar

from configs.accuracy import Task
from configs.decision import Decision
from flows.intervals import Bounds, PairedProportions, clustered_p_value, mean_interval, mean_ratio, pooled
from flows.judgement import Difference, Pooled, Verdict
from flows.records import Record

_POWER = 0.8
_MOST_DOCUMENTS = 1_000_000
"""Beyond which nobody asks: what was found lies on the margin."""
_RESAMPLES = 2000


@dataclass(frozen=True)
class TaskAnswers:
    """The primary metric of one task, document by document."""

    metric: str
    higher_is_better: bool
    values: dict[str, Any]
    """By the hash of a document's prompt and its place: a number, or log-likelihood and weight."""
    sources: dict[str, str]
    """The source that a document shares with others, by the same keys; empty where each has its own."""


Answers = dict[str, TaskAnswers]
"""By task as it was asked for: the subtasks of a group are one task, each a source of its documents."""


def read(evaluations: Sequence[Record], tasks: Sequence[Task]) -> Answers:
    """Every document's value, from the samples beside the records of one evaluation's slices."""
    shared = {task.name: task.cluster for task in tasks}
    found: Answers = {}
    for evaluation, name, figures in ((e, *item) for e in evaluations for item in e.result["tasks"].items()):
        asked = figures.get("asked", name)
        metric = next(iter(figures["metrics"]))
        task = found.setdefault(asked, TaskAnswers(metric, figures["higher_is_better"][metric], {}, {}))
        field = shared.get(asked)
        with evaluation.files.held() as folder, (folder / f"{name}.jsonl").open() as samples:
            for row in map(json.loads, samples):
                key = f"{name}/{row['doc_id']}/{row['doc_hash']}"
                task.values[key] = row[task.metric]
                if field or asked != name:
                    task.sources[key] = str(row["doc"][field]) if field else name
    return found


def overall(answers: Answers) -> dict[str, float]:
    """The primary metric of every task over all its documents, by `task.metric`."""
    found = {}
    for task, told in answers.items():
        values = np.array(list(told.values.values()), dtype=float)
        found[f"{task}.{told.metric}"] = float(
            values.mean() if values.ndim == 1 else _of_log_likelihoods(values, told.metric)
        )
    return found


def differences(variant: Answers, base: Answers, decision: Decision, seed: int) -> tuple[Difference, ...]:
    """Every task's primary metric, variant against base, on the documents that both answered."""
    found = []
    for task, theirs in base.items():
        ours = variant[task].values
        shared = [key for key in theirs.values if key in ours]
        pairs = [(theirs.values[key], ours[key]) for key in shared]
        sources = _numbered([theirs.sources[key] for key in shared]) if theirs.sources else None
        if pairs and isinstance(pairs[0][0], list):
            found.append(_perplexity(task, theirs.metric, pairs, sources, decision.confidence, seed))
        else:
            values = np.array(pairs, dtype=float)
            found.append(paired(task, theirs.metric, values, theirs.higher_is_better, decision, sources))
    return tuple(found)


def _numbered(sources: list[str]) -> np.ndarray | None:
    """The sources as numbers from 0 up; None where there is but one, which says nothing of any other."""
    names, numbers = np.unique(sources, return_inverse=True)
    return numbers if len(names) > 1 else None


def paired(
    task: str, metric: str, pairs: np.ndarray, better: bool, decision: Decision, sources: np.ndarray | None = None
) -> Difference:
    """Mean difference of a per-document metric with its interval; exact McNemar where it is 0/1.

    Where documents share sources, p is that of the clustered mean, and an interval is never narrower
    than it would be without them: a few sources that happen to agree prove little.
    """
    base, variant = pairs[:, 0], pairs[:, 1]
    change, confidence = variant - base, decision.confidence
    mean, sign = float(change.mean()), 1 if better else -1
    binary = bool(np.isin(pairs, (0.0, 1.0)).all())
    over, under = (variant, base) if better else (base, variant)
    proportions = PairedProportions.of(base, variant, confidence) if binary else None
    bounds = [proportions.difference] if proportions else []
    ratios = [proportions.ratio] if proportions and better else []
    if sources is not None or not bounds:
        bounds.append(mean_interval(change, sources, confidence))
    if sources is not None or not ratios:
        ratios.append(mean_ratio(over, under, sources, confidence))
    (low, high), ratio = _widest(bounds), None if None in ratios else _widest([r for r in ratios if r])
    error = max(mean - low, high - mean) / float(norm.ppf(0.5 + confidence / 2))
    gained, lost = int((sign * change > 0).sum()), int((sign * change < 0).sum())
    margin = decision.constraints.max_accuracy_drop
    detectable = float(norm.ppf(0.5 + confidence / 2) + norm.ppf(_POWER)) * error
    decided = verdict(min(sign * low, sign * high), max(sign * low, sign * high), margin)
    undecided = binary and decided == "inconclusive"
    return Difference(
        task=task,
        metric=metric,
        documents=len(pairs),
        sources=int(sources.max()) + 1 if sources is not None else None,
        base=float(base.mean()),
        variant=float(variant.mean()),
        difference=mean,
        low=low,
        high=high,
        recovery=float(over.mean() / under.mean()) if ratio else None,
        recovery_low=ratio[0] if ratio else None,
        recovery_high=ratio[1] if ratio else None,
        p_value=_p_value(change, gained, lost, sources) if binary or sources is not None else None,
        gained=gained,
        lost=lost,
        smallest_detectable=detectable,
        documents_needed=_needed(len(pairs), detectable, abs(margin + sign * mean)) if undecided else None,
        verdict=decided,
    )


def _needed(documents: int, detectable: float, distance: float) -> int | None:
    """Documents that can show a difference as small as that distance, when so many can show `detectable`."""
    needed = documents * (detectable / distance) ** 2 if distance else math.inf
    return math.ceil(needed) if needed <= _MOST_DOCUMENTS else None


def _widest(bounds: list[Bounds]) -> Bounds:
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def over_tasks(found: Sequence[Difference], margin: float) -> Pooled | None:
    """The mean difference over all judged tasks, each with the same weight; None for fewer than two."""
    judged = [difference for difference in found if difference.verdict]
    if len(judged) < 2:
        return None
    low, middle, high = pooled([(d.low, d.difference, d.high) for d in judged])
    return Pooled(tuple(d.task for d in judged), middle, low, high, verdict(low, high, margin))


def verdict(low: float, high: float, margin: float) -> Verdict:
    """Non-inferiority: of an interval of a difference of which more is better."""
    return "pass" if low >= -margin else "fail" if high < -margin else "inconclusive"


def _p_value(change: np.ndarray, gained: int, lost: int, sources: np.ndarray | None) -> float:
    if sources is not None:
        return clustered_p_value(change, sources)
    return float(mcnemar([[0, gained], [lost, 0]], exact=True).pvalue)


def _of_log_likelihoods(documents: np.ndarray, metric: str) -> Any:
    """A perplexity, or bits a byte.

    Args:
        documents: of shape (..., documents, 2), log-likelihood and weight.
    """
    nats = -documents[..., 0].sum(-1) / documents[..., 1].sum(-1)
    return nats / math.log(2) if metric == "bits_per_byte" else np.exp(nats)


def _perplexity(
    task: str, metric: str, pairs: list[Any], sources: np.ndarray | None, confidence: float, seed: int
) -> Difference:
    """Perplexity over all documents, with a paired bootstrap interval (Efron 1979) of the difference, over
    documents or their sources.

    A document's value is its log-likelihood and its weight (words or bytes).
    """
    base, variant = (np.array([pair[i] for pair in pairs], dtype=float) for i in (0, 1))

    def value(documents: np.ndarray) -> Any:
        return _of_log_likelihoods(documents, metric)

    drawn = np.arange(len(pairs)) if sources is None else sources
    sums = [np.stack([np.bincount(drawn, column) for column in side.T], axis=1) for side in (variant, base)]
    chosen = np.random.default_rng(seed).integers(0, len(sums[0]), (_RESAMPLES, len(sums[0])))
    values, values_base = (value(side[chosen]) for side in sums)
    changes, ratios = values - values_base, values_base / values
    tail = (1 - confidence) / 2
    change = variant[:, 0] - base[:, 0]
    return Difference(
        task=task,
        metric=metric,
        documents=len(pairs),
        sources=int(sources.max()) + 1 if sources is not None else None,
        base=float(value(base)),
        variant=float(value(variant)),
        difference=float(value(variant) - value(base)),
        low=float(np.quantile(changes, tail)),
        high=float(np.quantile(changes, 1 - tail)),
        recovery=float(value(base) / value(variant)),
        recovery_low=float(np.quantile(ratios, tail)),
        recovery_high=float(np.quantile(ratios, 1 - tail)),
        p_value=None,
        gained=int((change > 0).sum()),
        lost=int((change < 0).sum()),
        smallest_detectable=None,
        documents_needed=None,
        verdict=None,
    )
