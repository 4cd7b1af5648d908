"""What the same documents say of a variant against the base. Pure functions.

The interval of the mean difference, exact McNemar (McNemar 1947) for right/wrong metrics, flips in both
directions, recovery with its interval. A variant passes a task when the whole interval lies above minus
the margin (non-inferiority), fails when it lies below, and is inconclusive otherwise; then the smallest
loss that so many documents could have shown is given, and how many documents would settle it. Where a task asks for a
recovery, that interval is judged in its place. Metrics of all documents together are computed again over documents
drawn anew (`flows.corpus_metrics`). A perplexity without a recovery asked for is shown and judges nobody: a proxy
never ranks good variants.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar

from configs.decision import Decision
from configs.metrics import OF_SUMS
from flows import corpus_metrics
from flows.answers import Answers, TaskAnswers, weights
from flows.criterion import Criterion, verdict
from flows.intervals import Bounds, PairedProportions, clustered_p_value, mean_interval, mean_ratio, pooled
from flows.judgement import Difference, Pooled

_POWER = 0.8
_MOST_DOCUMENTS = 1_000_000
"""Beyond which nobody asks: what was found lies on the margin."""


def differences(variant: Answers, base: Answers, decision: Decision, seed: int) -> tuple[Difference, ...]:
    """Every task's judged metric, variant against base, on the documents that both answered."""
    found = []
    for task, theirs in base.items():
        ours = variant[task].values
        shared = [key for key in theirs.values if key in ours]
        pairs = [(theirs.values[key], ours[key]) for key in shared]
        sources = _numbered([theirs.sources[key] for key in shared]) if theirs.sources else None
        criterion = Criterion.of(theirs, decision)
        if theirs.means:
            values = np.array(pairs, dtype=float) * weights(theirs, shared)[:, None]
            one = paired(task, theirs.metric, values, theirs.higher_is_better, decision, sources, criterion)
        else:
            one = _recomputed(task, theirs, pairs, sources, decision.confidence, criterion, seed)
        found.append(replace(one, filter=theirs.filter))
    return tuple(found)


def _numbered(sources: list[str]) -> np.ndarray | None:
    """The sources as numbers from 0 up; None where there is but one, which says nothing of any other."""
    names, numbers = np.unique(sources, return_inverse=True)
    return numbers if len(names) > 1 else None


def paired(
    task: str,
    metric: str,
    pairs: np.ndarray,
    better: bool,
    decision: Decision,
    sources: np.ndarray | None = None,
    criterion: Criterion | None = None,
) -> Difference:
    """Mean difference of a per-document metric with its interval; exact McNemar where it is 0/1.

    Where documents share sources, p is that of the clustered mean, and an interval is never narrower
    than it would be without them: a few sources that happen to agree prove little.

    Args:
        pairs: of shape (documents, 2), the base's value and the variant's.
        criterion: what is judged by; None for the experiment's margin.
    """
    criterion = criterion or Criterion(decision.constraints.max_accuracy_drop, None)
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
    detectable = float(norm.ppf(0.5 + confidence / 2) + norm.ppf(_POWER)) * error
    decided = criterion.verdict((min(sign * low, sign * high), max(sign * low, sign * high)), ratio)
    undecided = binary and decided == "inconclusive"
    distance = abs(criterion.allowed(float(base.mean())) + sign * mean)
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
        documents_needed=_needed(len(pairs), detectable, distance) if undecided else None,
        verdict=decided,
        higher_is_better=better,
        margin=criterion.margin,
        min_recovery=criterion.recovery,
    )


def _needed(documents: int, detectable: float, distance: float) -> int | None:
    """Documents that can show a difference as small as that distance, when so many can show `detectable`."""
    needed = documents * (detectable / distance) ** 2 if distance else math.inf
    return math.ceil(needed) if needed <= _MOST_DOCUMENTS else None


def _widest(bounds: list[Bounds]) -> Bounds:
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def over_tasks(found: Sequence[Difference]) -> Pooled | None:
    """The mean difference over all tasks judged by a margin, each with the same weight, turned so that more is better
    and as a share of what the metric goes to, against the mean of their margins; None for fewer than two."""
    judged = [difference for difference in found if difference.verdict and difference.margin is not None]
    if len(judged) < 2:
        return None
    margin = sum((d.margin or 0.0) / d.goes_to for d in judged) / len(judged)
    turned = [tuple(sorted((d.low * _turn(d), d.difference * _turn(d), d.high * _turn(d)))) for d in judged]
    low, middle, high = pooled([(low, middle, high) for low, middle, high in turned])
    return Pooled(tuple(d.task for d in judged), middle, low, high, verdict(low, high, margin))


def _turn(found: Difference) -> float:
    """1 or -1 by the direction of a metric; a hundredth of it where the metric goes to 100."""
    return (1 if found.higher_is_better else -1) / found.goes_to


def _p_value(change: np.ndarray, gained: int, lost: int, sources: np.ndarray | None) -> float:
    if sources is not None:
        return clustered_p_value(change, sources)
    return float(mcnemar([[0, gained], [lost, 0]], exact=True).pvalue)


def _recomputed(
    task: str,
    answers: TaskAnswers,
    pairs: list[tuple[Any, Any]],
    sources: np.ndarray | None,
    confidence: float,
    criterion: Criterion,
    seed: int,
) -> Difference:
    """A metric of all documents together, with a paired bootstrap interval (percentiles) of the difference over
    documents or their sources."""
    kind, better = answers.kind, answers.higher_is_better
    sums = corpus_metrics.sums_of(kind, pairs)
    base, variant = (float(corpus_metrics.value_of(kind, side.sum(0))) for side in sums)
    values_base, values = corpus_metrics.resampled(kind, sums, sources, seed)
    tails = (0.5 - confidence / 2, 0.5 + confidence / 2)
    low, high = (float(bound) for bound in np.quantile(values - values_base, tails))
    unseen = corpus_metrics.unseen(kind, len(pairs) if sources is None else int(sources.max()) + 1, confidence)
    low, high = min(low, variant - base - unseen), max(high, variant - base + unseen)
    over, under = (variant, base) if better else (base, variant)
    below = values_base if better else values
    sign, ratio = 1 if better else -1, None
    if under > 0 and (below > 0).all():
        shares = (values if better else values_base) / below
        reach, kept = unseen / under, over / under
        ratio = (
            min(float(np.quantile(shares, tails[0])), kept - reach),
            max(float(np.quantile(shares, tails[1])), kept + reach),
        )
    alone = sign * np.subtract(*corpus_metrics.of_each(kind, sums)[::-1])
    turned = (min(sign * low, sign * high), max(sign * low, sign * high))
    error = max(variant - base - low, high - variant + base) / float(norm.ppf(0.5 + confidence / 2))
    detectable = float(norm.ppf(0.5 + confidence / 2) + norm.ppf(_POWER)) * error
    return Difference(
        task=task,
        metric=answers.metric,
        documents=len(pairs),
        sources=int(sources.max()) + 1 if sources is not None else None,
        base=base,
        variant=variant,
        difference=variant - base,
        low=low,
        high=high,
        recovery=over / under if ratio else None,
        recovery_low=ratio[0] if ratio else None,
        recovery_high=ratio[1] if ratio else None,
        p_value=None,
        gained=int((alone > 0).sum()),
        lost=int((alone < 0).sum()),
        smallest_detectable=detectable if criterion.judges else None,
        documents_needed=None,
        verdict=criterion.verdict(turned, ratio) if criterion.judges else None,
        higher_is_better=better,
        goes_to=100 if kind in OF_SUMS else 1,
        margin=criterion.margin if criterion.judges else None,
        min_recovery=criterion.recovery,
    )
