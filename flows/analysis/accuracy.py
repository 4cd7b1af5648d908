"""What the same documents say of a variant against the baseline. Pure functions.

The interval of the mean difference, exact McNemar (McNemar 1947) for right/wrong metrics, flips in both
directions, recovery with its interval. A variant passes a task when the whole interval lies above minus
the margin (non-inferiority), fails when it lies below, and is inconclusive otherwise; then the smallest
loss that so many documents could have shown is given, and how many would settle it. Where a task requires a
recovery, that interval is judged instead. Right and wrong have score intervals (`flows.statistics.proportions`),
other means those of bounded scores (`flows.statistics.bounded_mean`), over the sources where documents share them.
Metrics of all documents together are computed again over documents drawn anew (`flows.analysis.corpus_metrics`). A
perplexity without a required recovery is shown and judges nobody: a proxy never ranks good variants.
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
from flows.analysis import corpus_metrics
from flows.analysis.answers import Answers, TaskAnswers, weights
from flows.analysis.criterion import Criterion, verdict
from flows.analysis.judgement import Difference, Pooled
from flows.statistics.bounded_mean import Scores, most_of
from flows.statistics.intervals import Bounds, clustered_p_value, mean_interval, pooled
from flows.statistics.proportions import RightWrong
from flows.statistics.sample_size import MOST_DOCUMENTS, POWER, Evidence, times_needed


def differences(
    variant: Answers, base: Answers, decision: Decision, seed: int, *, rare_errors: bool = False
) -> tuple[Difference, ...]:
    """Every task's judged metric, variant against base, on the documents that both answered.

    Args:
        rare_errors: as of `paired`.
    """
    differences = []
    for task, theirs in base.items():
        ours = variant[task].values
        shared = [key for key in theirs.values if key in ours]
        pairs = [(theirs.values[key], ours[key]) for key in shared]
        sources = _numbered([theirs.sources[key] for key in shared]) if theirs.sources else None
        criterion = Criterion.of(theirs, decision)
        if theirs.means:
            values, counted = np.array(pairs, dtype=float), weights(theirs, shared)
            difference = paired(
                task,
                theirs.metric,
                values,
                theirs.higher_is_better,
                decision,
                sources,
                criterion,
                counted,
                rare_errors=rare_errors,
            )
        else:
            difference = _recomputed(task, theirs, pairs, sources, decision.confidence, criterion, seed)
        differences.append(replace(difference, filter=theirs.filter))
    return tuple(differences)


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
    weights: np.ndarray | None = None,
    *,
    rare_errors: bool = False,
) -> Difference:
    """Mean difference of a per-document metric with its interval; exact McNemar where it is 0/1.

    Where documents share sources, p is that of the clustered mean, and an interval is never narrower than it would be
    without them. The subtasks of a group are strata, from each of which documents are drawn: as if they were drawn
    from all of them at once, which is never narrower than it should be.

    Args:
        pairs: of shape (documents, 2), the baseline's value and the variant's.
        criterion: what is judged by; None for the experiment's margin.
        weights: what each document counts, 1 on average; None where all count alike.
        rare_errors: whether right and wrong are taken as scores, too: both bounds of a score interval hold at the usual
            rates, but of the rare ones of a race only those of a bounded mean do. Then nothing but the verdict is
            needed.
    """
    criterion = criterion or Criterion(decision.constraints.max_accuracy_drop, None)
    confidence, sign = decision.confidence, 1 if better else -1
    counted = np.ones(len(pairs)) if weights is None else weights
    base, variant = (pairs * counted[:, None]).T
    change = variant - base
    binary = bool(np.isin(pairs, (0.0, 1.0)).all())
    most, evidence = most_of(metric, pairs), list[RightWrong | Scores]()
    if binary and (counted == 1).all() and not rare_errors:
        evidence.append(RightWrong.of(base, variant))
    if most is not None and (sources is not None or not evidence):
        evidence.append(Scores.of(pairs, counted, sources, most))
    ranges = [scores.differences(confidence, np.ones(1)) for scores in evidence]
    bounds = [(float(low[0]), float(high[0])) for low, high in ranges] or [mean_interval(change, sources, confidence)]
    for_ratio = evidence if criterion.recovery is not None or not rare_errors else []
    ratios = [scores.ratio(confidence, turned=not better) for scores in for_ratio]
    gained, lost = int((sign * change > 0).sum()), int((sign * change < 0).sum())
    judged = _difference(
        (float(base.mean()), float(variant.mean())),
        _widest(bounds),
        _widest([ratio for ratio in ratios if ratio]) if ratios and None not in ratios else None,
        criterion,
        confidence,
        undecidable=None if evidence else f"{metric} has no known range of a document's value",
        task=task,
        metric=metric,
        documents=len(pairs),
        sources=_count(sources),
        gained=gained,
        lost=lost,
        p_value=_p_value(change, gained, lost, sources) if binary or sources is not None else None,
        higher_is_better=better,
    )
    if judged.verdict != "inconclusive" or judged.undecidable or rare_errors:
        return judged
    needed = _needed(evidence[-1], judged, criterion, confidence)
    return replace(judged, sources_needed=needed) if judged.sources else replace(judged, documents_needed=needed)


def _needed(evidence: Evidence, difference: Difference, criterion: Criterion, confidence: float) -> int | None:
    """Documents, or sources, that settle what is inconclusive; None where they would be more than anybody has."""
    sign, units = 1 if difference.higher_is_better else -1, difference.sources or difference.documents
    margin, most = criterion.allowed(difference.base), MOST_DOCUMENTS / units
    times = times_needed(evidence, sign * difference.difference, margin, sign, confidence, most)
    return math.ceil(units * times) if times else None


def _difference(
    values: tuple[float, float],
    bounds: Bounds,
    ratio: Bounds | None,
    criterion: Criterion,
    confidence: float,
    *,
    undecidable: str | None,
    higher_is_better: bool,
    **fields: Any,
) -> Difference:
    """The verdict, by the values of base and variant, the interval of their difference and that of the recovery.

    Args:
        undecidable: why there is none but inconclusive.
        fields: other fields of the difference.
    """
    (base, variant), (low, high), judges = values, bounds, criterion.judges
    over, under = (variant, base) if higher_is_better else (base, variant)
    turned = (low, high) if higher_is_better else (-high, -low)
    z = float(norm.ppf(0.5 + confidence / 2))
    reach = max(variant - base - low, high - variant + base)
    decided = "inconclusive" if undecidable else criterion.verdict(turned, ratio)
    return Difference(
        **fields,
        base=base,
        variant=variant,
        difference=variant - base,
        low=low,
        high=high,
        recovery=over / under if ratio else None,
        recovery_low=ratio[0] if ratio else None,
        recovery_high=ratio[1] if ratio else None,
        smallest_detectable=(1 + float(norm.ppf(POWER)) / z) * reach if judges else None,
        documents_needed=None,
        verdict=decided if judges else None,
        higher_is_better=higher_is_better,
        margin=criterion.margin if judges else None,
        min_recovery=criterion.recovery,
        undecidable=undecidable if judges else None,
    )


def _count(sources: np.ndarray | None) -> int | None:
    return int(sources.max()) + 1 if sources is not None else None


def _widest(bounds: list[Bounds]) -> Bounds:
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def over_tasks(differences: Sequence[Difference]) -> Pooled | None:
    """The mean difference over all tasks that are allowed a loss (`Difference.allowed`), each with the same weight,
    turned so that more is better and as a share of what the metric goes to, against the mean of those losses; None for
    fewer than two.

    A recovery allows a loss of a share of the baseline's value. So with one recovery for all tasks, the mean is judged
    by that share of the baseline's mean, as model cards do; the baseline's own error is left out, which at a recovery
    of 97 % and 8 % flips makes the interval narrower by 0.1 %.
    """
    judged = [d for d in differences if d.verdict and d.allowed is not None and not d.undecidable]
    if len(judged) < 2:
        return None
    margin = sum((d.allowed or 0.0) / d.goes_to for d in judged) / len(judged)
    turned = [tuple(sorted(d.turned(value) for value in (d.low, d.difference, d.high))) for d in judged]
    low, middle, high = pooled([(low, middle, high) for low, middle, high in turned])
    return Pooled(tuple(d.task for d in judged), middle, low, high, verdict(low, high, margin))


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
    """A metric of all documents together, by documents or their sources drawn anew."""
    better = answers.higher_is_better
    sums = corpus_metrics.sums_of(answers.kind, pairs)
    resampled = corpus_metrics.resampled(answers.kind, sums, sources, seed)
    alone = (1 if better else -1) * np.subtract(*corpus_metrics.of_each(answers.kind, sums)[::-1])
    return _difference(
        resampled.values,
        resampled.difference(confidence),
        resampled.ratio(confidence, turned=not better),
        criterion,
        confidence,
        undecidable=resampled.too_few,
        task=task,
        metric=answers.metric,
        documents=len(pairs),
        sources=_count(sources),
        gained=int((alone > 0).sum()),
        lost=int((alone < 0).sum()),
        p_value=None,
        higher_is_better=better,
        goes_to=100 if answers.kind in OF_SUMS else 1,
    )
