"""Intervals of means of scores that cannot leave a known range, however skewed they are. Pure functions.

A t interval of 200 documents, 2 % of which lose all, errs in 9 % instead of 2.5 %: what is rare was not drawn, and the
spread of the sample is too small. Here the worst value that there could be is added once to what was drawn, and the
bound is a quantile of the mean with weights drawn at random (Dirichlet): Gaffke (2005, Math. Methods Stat. 14:451);
Learned-Miller and Thomas (2019, arXiv 1905.06208). Of right and wrong it is Clopper and Pearson's bound, of many
documents as narrow as t. That it never errs more often than it says is proven for right and wrong and conjectured for
the rest, where no exception is known; `tests/bench/calibration.py` tries it on the skewed. The proven betting intervals
(Waudby-Smith and Ramdas 2024, J. R. Stat. Soc. B 86:1) were 1.4 to 1.9 times as wide there, which is two to three times
the documents.

The quantile is not drawn but computed: a sum of exponential variables has a saddlepoint approximation
(Barndorff-Nielsen 1986, Biometrika 73:307), here less than 1 % of the width off.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from configs.metrics import GO_TO
from flows.statistics.intervals import Bounds
from flows.statistics.roots import last_true

_STEPS = 16
_SETTLED = 1e-9
"""Between two steps of a search that converges quadratically."""
_HALVINGS = 28
"""A bound is known to a millionth of the range then, and to a hundredth of what a million documents can show."""
_STEEPEST = 30.0
"""Ratios are looked for between e to the minus this and e to this."""


def most_of(metric: str, values: np.ndarray) -> float | None:
    """What a metric's values of single documents go to, from 0 up: what is known of its name, else 1, or 100 where
    some value is above 1; None where there is no such end, as for log-likelihoods.

    Args:
        values: of base and variant, of any shape.
    """
    possible = (GO_TO[metric],) if metric in GO_TO else (1.0, 100.0)
    return next((most for most in possible if values.min() >= 0 and values.max() <= most), None)


def certainty_above(values: np.ndarray, counts: np.ndarray, worst: np.ndarray) -> np.ndarray:
    """How certain it is that a mean is above 0, as a standard normal deviate: 1.96 for 97.5 %; minus infinity where
    the mean is not above 0 with the worst value added.

    Args:
        values: of shape (..., values), the different ones.
        counts: of the same shape, how often each occurs.
        worst: the least that there could be, below 0; of shape (...).
    """
    reach = -worst[..., None]
    scaled, total = values / reach, (counts * values).sum(-1) / reach[..., 0]

    tilt = _tilt(scaled, counts, total)
    each = 1 + tilt[..., None] * scaled
    log_ratio = (counts * np.log(each)).sum(-1) + np.log1p(-tilt)
    distance = np.sqrt(np.maximum(2 * log_ratio, 1e-30))
    curvature = (counts * (scaled / each) ** 2).sum(-1) + 1 / (1 - tilt) ** 2
    deviate: np.ndarray = distance + np.log(tilt * np.sqrt(curvature) / distance) / distance
    return np.where(total > 1, deviate, -np.inf)


def _tilt(scaled: np.ndarray, counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Where the saddlepoint lies, between 0 and 1: by Newton's steps, or halvings where one of them leaves what is
    left."""
    low, high = np.zeros_like(total), np.ones_like(total)
    tilt = np.full_like(total, 0.5)
    for _ in range(_STEPS):
        each = scaled / (1 + tilt[..., None] * scaled)
        pull = (counts * each).sum(-1)
        left = (1 - tilt) * pull - 1
        low, high = np.where(left > 0, tilt, low), np.where(left > 0, high, tilt)
        step = tilt + left / (pull + (1 - tilt) * (counts * each**2).sum(-1))
        before, tilt = tilt, np.where((step > low) & (step < high), step, (low + high) / 2)
        if np.abs(tilt - before).max() < _SETTLED:
            break
    clipped: np.ndarray = np.clip(tilt, 1e-15, 1 - 1e-15)
    return clipped


def mean_bounds(
    change: np.ndarray, size: np.ndarray, counts: np.ndarray, top: float, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean of differences between -top and top.

    Args:
        change: of shape (units,), the sum of a unit's differences: of a document, or of all that share a source.
        size: of shape (units,), how many documents that is.
        counts: of shape (..., units), how often each unit was drawn, for many experiments at once.
        top: what the metric goes to.
    """
    z, largest = float(norm.ppf(0.5 + confidence / 2)), float(size.max())
    estimate = (counts * change).sum(-1) / (counts * size).sum(-1)

    def above(mean: np.ndarray) -> np.ndarray:
        return certainty_above(change - mean[..., None] * size, counts, -largest * (top + mean)) < z

    def below(mean: np.ndarray) -> np.ndarray:
        return certainty_above(mean[..., None] * size - change, counts, -largest * (top - mean)) < z

    ends = np.full_like(estimate, top * (1 - 1e-12))
    return last_true(above, estimate, -ends, _HALVINGS), last_true(below, estimate, ends, _HALVINGS)


def ratio_bounds(
    over: np.ndarray, under: np.ndarray, counts: np.ndarray, most: float, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the ratio of two means of sums between 0 and `most`; the lower one must not be 0.

    Args:
        over: of shape (units,), as `change` of `mean_bounds`.
        under: likewise.
    """
    z = float(norm.ppf(0.5 + confidence / 2))
    below_line, above_line = (counts * under).sum(-1), (counts * over).sum(-1)
    estimate = np.log(np.maximum(above_line, np.exp(-_STEEPEST) * below_line) / below_line)

    def above(log: np.ndarray) -> np.ndarray:
        ratio = np.exp(log)
        return certainty_above(over - ratio[..., None] * under, counts, -ratio * most) < z

    def below(log: np.ndarray) -> np.ndarray:
        ratio = np.exp(log)
        return certainty_above(ratio[..., None] * under - over, counts, np.full_like(ratio, -most)) < z

    ends = np.full_like(estimate, _STEEPEST)
    low, high = last_true(above, estimate, -ends, _HALVINGS + 6), last_true(below, estimate, ends, _HALVINGS + 6)
    return np.where(above_line > 0, np.exp(low), 0.0), np.exp(high)


@dataclass(frozen=True)
class Scores:
    """Sums over independent units: documents, or the sources that documents share."""

    base: np.ndarray
    """The different sums of a unit's values, each with how often it occurs."""
    variant: np.ndarray
    size: np.ndarray
    """Documents of a unit; where they are weighted, the sum of their weights."""
    counts: np.ndarray
    top: float

    @classmethod
    def of(cls, pairs: np.ndarray, weights: np.ndarray, sources: np.ndarray | None, top: float) -> "Scores":
        """
        Args:
            pairs: of shape (documents, 2), the baseline's value and the variant's, between 0 and `top`.
            weights: what each document counts, 1 on average.
            sources: the number of every document's source, from 0 up; None where each stands for itself.
        """
        each = np.column_stack([pairs * weights[:, None], weights])
        if sources is not None:
            each = np.column_stack([np.bincount(sources, column) for column in each.T])
        rows, counts = np.unique(each, axis=0, return_counts=True)
        return cls(rows[:, 0], rows[:, 1], rows[:, 2], counts.astype(float), top)

    def differences(self, confidence: float, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interval of variant minus base, if so many times the units had shown the same."""
        counts = np.multiply.outer(times, self.counts)
        return mean_bounds(self.variant - self.base, self.size, counts, self.top, confidence)

    def ratio(self, confidence: float, *, turned: bool = False) -> Bounds | None:
        """Interval of variant over base, or of base over variant; None where what stands below is 0."""
        over, under = (self.base, self.variant) if turned else (self.variant, self.base)
        if not (self.counts * under).sum():
            return None
        most = self.top * float(self.size.max())
        low, high = ratio_bounds(over, under, self.counts, most, confidence)
        return float(low), float(high)

    @property
    def error(self) -> float:
        """Standard error of the difference, over units (of sources: Miller 2024, arXiv 2411.00640, section 2.2)."""
        change, total = self.variant - self.base, float((self.counts * self.size).sum())
        off = change - float((self.counts * change).sum()) / total * self.size
        units = float(self.counts.sum())
        return float(np.sqrt(units / max(units - 1, 1) * (self.counts * off**2).sum())) / total
