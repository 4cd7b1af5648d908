"""Confidence intervals of paired measurements: the same documents, before and after. Pure functions."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student
from statsmodels.stats.proportion import proportion_confint

Bounds = tuple[float, float]


@dataclass(frozen=True)
class PairedProportions:
    """Two paired proportions with their Wilson intervals, joined by their correlation.

    Unlike normal intervals, these do not shrink to nothing where a few documents happen to agree.
    """

    base: float
    base_reach: Bounds
    """How far the interval goes below and above the proportion."""
    variant: float
    variant_reach: Bounds
    correlation: float

    @classmethod
    def of(cls, base: np.ndarray, variant: np.ndarray, confidence: float) -> "PairedProportions":
        """From 0/1 values of the same documents, in the same order."""
        count, both, none = len(base), int((base * variant).sum()), int(((1 - base) * (1 - variant)).sum())
        gained, lost = int(((1 - base) * variant).sum()), int((base * (1 - variant)).sum())
        spread = math.sqrt((both + lost) * (gained + none) * (both + gained) * (lost + none))
        product = both * none - gained * lost
        related = (max(product - count / 2, 0) if product > 0 else product) / spread if spread else 0.0
        reaches = []
        for values in (base, variant):
            low, high = proportion_confint(int(values.sum()), count, alpha=1 - confidence, method="wilson")
            reaches.append((float(values.mean() - low), float(high - values.mean())))
        return cls(float(base.mean()), reaches[0], float(variant.mean()), reaches[1], related)

    @property
    def difference(self) -> Bounds:
        """Interval of variant minus base (Newcombe 1998, Stat. Med. 17:2635, method 10)."""
        between = self.variant - self.base
        down = self._joined(self.variant_reach[0], self.base_reach[1])
        return between - down, between + self._joined(self.variant_reach[1], self.base_reach[0])

    def _joined(self, one: float, other: float) -> float:
        return math.sqrt(max(one**2 - 2 * self.correlation * one * other + other**2, 0.0))

    @property
    def ratio(self) -> Bounds | None:
        """Interval of variant over base (MOVER for ratios: Donner and Zou 2012, Stat. Methods Med. Res.
        21:347); None where the base is 0, or its own interval reaches 0 or twice its value."""
        low = self._bound(self.variant_reach[0], self.base_reach[1], -1)
        high = self._bound(self.variant_reach[1], self.base_reach[0], 1)
        return (low, high) if low is not None and high is not None else None

    def _bound(self, reach: float, base_reach: float, sign: int) -> float | None:
        """One bound: `sign` is -1 for the lower, where the variant is low and the base high."""
        variant_limit, base_limit = self.variant + sign * reach, self.base - sign * base_reach
        scale = base_limit * (2 * self.base - base_limit)
        if scale <= 0:
            return None
        middle = self.base * self.variant - self.correlation * reach * base_reach
        root = middle**2 - scale * variant_limit * (2 * self.variant - variant_limit)
        return (middle + sign * math.sqrt(max(root, 0.0))) / scale


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


def mean_ratio(over: np.ndarray, under: np.ndarray, sources: np.ndarray | None, confidence: float) -> Bounds | None:
    """Interval of the ratio of two paired means (ratio estimator: Cochran 1977, section 6.3)."""
    if not under.mean():
        return None
    ratio = float(over.mean() / under.mean())
    error = standard_error(over - ratio * under, sources) / abs(float(under.mean()))
    reach = _quantile(over, sources, confidence) * error
    return ratio - reach, ratio + reach


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
