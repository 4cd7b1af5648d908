"""Intervals and tests by normal theory, for what its coverage was checked: repeats of a load, and means over tasks.
Pure functions. Documents have theirs: `flows.statistics.proportions`, `flows.statistics.bounded_mean`."""

import math

import numpy as np
from scipy.stats import t as student

Bounds = tuple[float, float]


def standard_error(values: np.ndarray, sources: np.ndarray | None) -> float:
    """Standard error of a mean; of one over sources (clusters) where documents share them.

    Args:
        sources: the number of every document's source, from 0 up; None where each stands for itself.
            Their sums are taken as the independent things (Liang and Zeger 1986; for evaluations of
            language models: Miller 2024, arXiv 2411.00640, section 2.2), with Bessel's correction.
    """
    if sources is None:
        return float(values.std(ddof=1) / math.sqrt(len(values)))
    sums = np.bincount(sources, values - values.mean())
    count = len(sums)
    return math.sqrt(count / (count - 1) * float((sums**2).sum())) / len(values)


def mean_interval(values: np.ndarray, sources: np.ndarray | None, confidence: float) -> Bounds:
    """Student's t interval of a mean, over the values or over their sources."""
    reach = _quantile(values, sources, confidence) * standard_error(values, sources)
    return float(values.mean()) - reach, float(values.mean()) + reach


def clustered_p_value(change: np.ndarray, sources: np.ndarray) -> float:
    """Two-sided p of no mean difference, over sources; 1 where nothing differs."""
    error = standard_error(change, sources)
    return float(2 * student.sf(abs(change.mean()) / error, int(sources.max()))) if error else 1.0


def _quantile(values: np.ndarray, sources: np.ndarray | None, confidence: float) -> float:
    freedom = len(values) - 1 if sources is None else int(sources.max())
    return float(student.ppf(0.5 + confidence / 2, freedom))


def pooled(bounds: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    """The mean of independent differences with its interval, from each one's own (low, value, high): the
    squares of their reaches add up (MOVER: Zou and Donner 2008, Stat. Med. 27:1693)."""
    count = len(bounds)
    middle = sum(value for _, value, _ in bounds) / count
    down = math.sqrt(sum((value - low) ** 2 for low, value, _ in bounds)) / count
    up = math.sqrt(sum((high - value) ** 2 for _, value, high in bounds)) / count
    return middle - down, middle, middle + up
