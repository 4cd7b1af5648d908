"""Confidence intervals of paired measurements: the same documents, before and after. Pure functions."""

import math
from dataclasses import dataclass

import numpy as np
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


def mean_difference(change: np.ndarray, z: float) -> Bounds:
    """Normal interval of a mean; infinite for a single value."""
    error = float(change.std(ddof=1) / math.sqrt(len(change))) if len(change) > 1 else math.inf
    return float(change.mean()) - z * error, float(change.mean()) + z * error


def mean_ratio(over: np.ndarray, under: np.ndarray, z: float) -> Bounds | None:
    """Interval of the ratio of two paired means (ratio estimator: Cochran 1977, section 6.3)."""
    if not under.mean() or len(over) < 2:
        return None
    ratio = float(over.mean() / under.mean())
    spread = float((over - ratio * under).std(ddof=1))
    reach = z * spread / (math.sqrt(len(over)) * abs(float(under.mean())))
    return ratio - reach, ratio + reach
