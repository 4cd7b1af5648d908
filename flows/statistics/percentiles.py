"""Percentiles of latencies, with intervals that assume nothing of how latencies are distributed. Pure functions.

The requests of all repeats are pooled: the mean of a percentile over repeats is biased where a repeat has few requests,
as the largest of ten is no 95th percentile. The bounds are order statistics (David and Nagaraja 2003, Order Statistics,
section 7.1).
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binom, chi2, norm
from scipy.stats import t as student
from statsmodels.stats.proportion import proportion_confint

_DIFFER = 0.05
"""Repeats differ where chance alone makes them differ so much as rarely as this."""


def fewest(percentile: float, confidence: float) -> int:
    """Requests whose slowest bounds a percentile from above: 72 for the 95th and 368 for the 99th in a two-sided
    interval of 95 %, and 59 and 299 in one of 90 %, whose upper bound holds with 95 %."""
    return math.ceil(math.log((1 - confidence) / 2) / math.log(percentile / 100))


def bounds(repeats: Sequence[np.ndarray], percentile: float, confidence: float) -> tuple[float | None, float | None]:
    """The two-sided interval of a percentile of all repeats together; None where so few requests have no such bound.

    Args:
        repeats: the latencies of each.
    """
    values = np.sort(np.concatenate(repeats))
    if not values.size:
        return None, None
    share, middle = percentile / 100, np.percentile(values, percentile)
    within = [((repeat < middle).sum() + (repeat == middle).sum() / 2, len(repeat)) for repeat in repeats]
    count, beyond = _effective(within, confidence), (1 - confidence) / 2
    low = int(binom.ppf(beyond, count, share))
    high = int(binom.ppf(1 - beyond, count, share)) + 1
    return (
        float(values[-(-low * len(values) // count) - 1]) if low >= 1 else None,
        float(values[-(-high * len(values) // count) - 1]) if high <= count else None,
    )


def share_bounds(within: Sequence[tuple[int, int]], confidence: float) -> tuple[float, float]:
    """The exact two-sided interval of the share of requests that are within (Clopper and Pearson 1934).

    Args:
        within: of every repeat, how many requests are, and of how many.
    """
    good, count = (sum(column) for column in zip(*within, strict=True))
    effective = _effective(within, confidence)
    if not effective:
        return 0.0, 1.0
    low, high = proportion_confint(good * effective / count, effective, alpha=1 - confidence, method="beta")
    return float(np.nan_to_num(low, nan=0.0)), float(np.nan_to_num(high, nan=1.0))


def _effective(within: Sequence[tuple[float, int]], confidence: float) -> int:
    """How many independent requests the repeats are worth: as many as they have, unless they differ by more than chance
    makes them differ; then fewer, by the design effect of a clustered share (Rao and Scott 1992, Biometrics 48:577),
    which so few repeats tell as roughly as Student's t has it."""
    counted = [(good, count) for good, count in within if count]
    total, good_ones = sum(count for _, count in counted), sum(good for good, _ in counted)
    share, freedom = (good_ones / total if total else 0.0), len(counted) - 1
    if freedom < 1 or not 0 < share < 1:
        return total
    spread = sum((good - count * share) ** 2 / (count * share * (1 - share)) for good, count in counted)
    if chi2.sf(spread, freedom) >= _DIFFER:
        return total
    beyond = (1 - confidence) / 2
    return int(total / (spread / freedom) * (norm.isf(beyond) / student.isf(beyond, freedom)) ** 2)
