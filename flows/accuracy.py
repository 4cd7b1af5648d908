"""What the same documents say of a variant against the base. Pure functions.

The interval of the mean difference, exact McNemar (McNemar 1947) for right/wrong metrics, flips in both
directions, recovery with its interval. A variant passes a task when the whole interval lies above minus
the margin (non-inferiority), fails when it lies below, and is inconclusive otherwise; then the smallest
loss that so many documents could have shown is given, and how many documents would settle it.
Perplexity is shown beside it and judges nobody: a proxy never ranks good variants.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar

from configs.decision import Decision
from flows.intervals import PairedProportions, mean_difference, mean_ratio
from flows.judgement import Difference, Verdict
from flows.records import Record

_POWER = 0.8
_RESAMPLES = 2000


@dataclass(frozen=True)
class TaskAnswers:
    """The primary metric of one task, document by document."""

    metric: str
    higher_is_better: bool
    values: dict[str, Any]
    """By the hash of a document's prompt and its place: a number, or log-likelihood and weight."""


Answers = dict[str, TaskAnswers]
"""By task."""


def read(evaluation: Record) -> Answers:
    """Every document's value, from the samples beside an evaluation's record."""
    found = {}
    for task, figures in evaluation.result["tasks"].items():
        metric = next(iter(figures["metrics"]))
        with (evaluation.folder / f"{task}.jsonl").open() as samples:
            rows = (json.loads(line) for line in samples)
            values = {f"{row['doc_id']}/{row['doc_hash']}": row[metric] for row in rows}
        found[task] = TaskAnswers(metric, figures["higher_is_better"][metric], values)
    return found


def differences(variant: Answers, base: Answers, decision: Decision, seed: int) -> tuple[Difference, ...]:
    """Every task's primary metric, variant against base, on the documents that both answered."""
    found = []
    for task, theirs in base.items():
        ours = variant[task].values
        pairs = [(value, ours[key]) for key, value in theirs.values.items() if key in ours]
        if pairs and isinstance(pairs[0][0], list):
            found.append(_perplexity(task, theirs.metric, pairs, decision.confidence, seed))
        else:
            found.append(paired(task, theirs.metric, np.array(pairs, dtype=float), theirs.higher_is_better, decision))
    return tuple(found)


def paired(task: str, metric: str, pairs: np.ndarray, better: bool, decision: Decision) -> Difference:
    """Mean difference of a per-document metric with its interval; exact McNemar where it is 0/1."""
    base, variant = pairs[:, 0], pairs[:, 1]
    change, z = variant - base, float(norm.ppf(0.5 + decision.confidence / 2))
    mean, sign = float(change.mean()), 1 if better else -1
    binary = bool(np.isin(pairs, (0.0, 1.0)).all())
    over, under = (variant, base) if better else (base, variant)
    proportions = PairedProportions.of(base, variant, decision.confidence) if binary else None
    low, high = proportions.difference if proportions else mean_difference(change, z)
    ratio = proportions.ratio if proportions and better else mean_ratio(over, under, z)
    error = max(mean - low, high - mean) / z
    gained, lost = int((sign * change > 0).sum()), int((sign * change < 0).sum())
    margin, (worst, best) = decision.constraints.max_accuracy_drop, sorted((sign * low, sign * high))
    verdict: Verdict = "pass" if worst >= -margin else "fail" if best < -margin else "inconclusive"
    detectable = (z + float(norm.ppf(_POWER))) * error
    return Difference(
        task=task,
        metric=metric,
        documents=len(pairs),
        base=float(base.mean()),
        variant=float(variant.mean()),
        difference=mean,
        low=low,
        high=high,
        recovery=float(over.mean() / under.mean()) if ratio else None,
        recovery_low=ratio[0] if ratio else None,
        recovery_high=ratio[1] if ratio else None,
        p_value=float(mcnemar([[0, gained], [lost, 0]], exact=True).pvalue) if binary else None,
        gained=gained,
        lost=lost,
        smallest_detectable=detectable,
        documents_needed=math.ceil(len(pairs) * (detectable / margin) ** 2) if margin and binary else None,
        verdict=verdict,
    )


def _perplexity(task: str, metric: str, pairs: list[Any], confidence: float, seed: int) -> Difference:
    """Perplexity over all documents, with a paired bootstrap interval (Efron 1979) of the difference.

    A document's value is its log-likelihood and its weight (words or bytes).
    """
    base, variant = (np.array([pair[i] for pair in pairs], dtype=float) for i in (0, 1))
    turn = (lambda nats: nats / math.log(2)) if metric == "bits_per_byte" else np.exp

    def value(documents: np.ndarray) -> Any:
        return turn(-documents[..., 0].sum(-1) / documents[..., 1].sum(-1))

    chosen = np.random.default_rng(seed).integers(0, len(pairs), (_RESAMPLES, len(pairs)))
    values, values_base = value(variant[chosen]), value(base[chosen])
    changes, ratios = values - values_base, values_base / values
    tail = (1 - confidence) / 2
    better = variant[:, 0] > base[:, 0]
    return Difference(
        task=task,
        metric=metric,
        documents=len(pairs),
        base=float(value(base)),
        variant=float(value(variant)),
        difference=float(value(variant) - value(base)),
        low=float(np.quantile(changes, tail)),
        high=float(np.quantile(changes, 1 - tail)),
        recovery=float(value(base) / value(variant)),
        recovery_low=float(np.quantile(ratios, tail)),
        recovery_high=float(np.quantile(ratios, 1 - tail)),
        p_value=None,
        gained=int(better.sum()),
        lost=int((~better).sum()),
        smallest_detectable=None,
        documents_needed=None,
        verdict=None,
    )
