"""What the records say of every compressed variant against the base. Pure functions.

Accuracy is compared on the same documents in pairs: the interval of the mean difference, exact
McNemar (McNemar 1947) for right/wrong metrics, corrected over variants (Holm 1979), flips in both
directions, recovery with its interval. A variant passes a task when the whole interval lies above minus
the margin (non-inferiority), fails when it lies below, and is inconclusive otherwise; then the smallest
loss that so many documents could have shown is given, and how many documents would settle it.
Perplexity is shown beside it and judges nobody: a proxy never ranks good variants.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from configs.decision import Decision
from configs.experiment import BASE
from flows.context import Outcome, Run
from flows.decide import decide
from flows.intervals import PairedProportions, mean_difference, mean_ratio
from flows.judgement import Difference, Judged, Judgement, Verdict
from flows.records import Record

_POWER = 0.8
_RESAMPLES = 2000


def judge(run: Run) -> Judgement:
    """The judgement over every variant that was measured completely."""
    decision, seed = run.plan.experiment.decision, run.plan.experiment.accuracy.seed
    reasons = {o.name: o.failure for o in run.outcomes.values() if o.failure}
    base = run.outcomes[BASE]
    if not base.complete:
        sentence = f"Nothing can be compared: the base model was not measured ({base.failure})."
        return Judgement("nothing was measured", None, sentence, (), (), reasons)
    judged = [_judged(outcome, base, decision, seed) for outcome in run.outcomes.values() if outcome.complete]
    return decide(corrected(judged), decision, reasons)


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


def _judged(outcome: Outcome, base: Outcome, decision: Decision, seed: int) -> Judged:
    checkpoint, evaluation, benchmark = _records(outcome)
    differences = () if outcome is base else _differences(evaluation, _records(base)[1], decision, seed)
    points = benchmark.result["points"]
    figures = {
        "size_bytes": checkpoint.result["weight_bytes"],
        "throughput": max(p["output_tokens_per_second"] for p in points),
        "ttft_p95_ms": points[0]["ttft_p95_ms"],
        "itl_p95_ms": points[0]["itl_p95_ms"],
    }
    verdicts = [d.verdict for d in differences if d.verdict]
    return Judged(
        name=outcome.name,
        **figures,
        differences=differences,
        verdict=None if outcome is base else _worst(verdicts),
        broken_constraints=_broken(figures, decision),
        evidence={record.kind: record.fingerprint for record in (checkpoint, evaluation, benchmark)},
    )


def _records(outcome: Outcome) -> tuple[Record, Record, Record]:
    records = (outcome.checkpoint, outcome.evaluation, outcome.benchmark)
    if any(record is None for record in records):
        raise ValueError(f"{outcome.name} was not measured completely")
    return records  # type: ignore[return-value]


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("fail", "inconclusive", "pass")
    return next((v for v in order if v in verdicts), "inconclusive")


def _broken(figures: dict[str, Any], decision: Decision) -> tuple[str, ...]:
    limits = decision.constraints
    checks = (
        ("TTFT p95", figures["ttft_p95_ms"], limits.max_ttft_p95_ms, "ms"),
        ("ITL p95", figures["itl_p95_ms"], limits.max_itl_p95_ms, "ms"),
        ("size", figures["size_bytes"] / 1e9, limits.max_size_gb, "GB"),
    )
    return tuple(
        f"{name} is {value:.4g} {unit}, over the limit of {limit:g} {unit}"
        for name, value, limit, unit in checks
        if limit is not None and value > limit
    )


def _differences(variant: Record, base: Record, decision: Decision, seed: int) -> tuple[Difference, ...]:
    found = []
    for task, figures in base.result["tasks"].items():
        metric = next(iter(figures["metrics"]))
        better = figures["higher_is_better"][metric]
        ours, theirs = (_documents(record.folder / f"{task}.jsonl", metric) for record in (variant, base))
        shared = sorted(ours.keys() & theirs.keys())
        pairs = [(theirs[key], ours[key]) for key in shared]
        if pairs and isinstance(pairs[0][0], list):
            found.append(_perplexity(task, metric, pairs, decision.confidence, seed))
        else:
            found.append(_paired(task, metric, np.array(pairs, dtype=float), better, decision))
    return tuple(found)


def _documents(samples: Path, metric: str) -> dict[str, Any]:
    """Each document's value of a metric, by the hash of its prompt and the document's place."""
    rows = (json.loads(line) for line in samples.read_text().splitlines())
    return {f"{row['doc_id']}/{row['doc_hash']}": row[metric] for row in rows}


def _paired(task: str, metric: str, pairs: np.ndarray, better: bool, decision: Decision) -> Difference:
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
