"""The ratio of a variant to the baseline by pairs of repeats, each of the same block, with its interval. Pure
functions.

The ratio is that of the geometric means. Where the engines were started several times, the start is the unit: an
engine is a little faster or slower with every start, and repeats of one say nothing of that (Kalibera and Jones,
Rigorous benchmarking in reasonable time, ISMM 2013). How far starts differ is estimated from all variants and the
control together, each around its own mean, as a few starts of one alone would hardly tell (the residual variance of a
one-way layout, as in an analysis of variance). The control is the baseline against a second start of itself, so that
its mean is known. Where there is one start, the unit is the repeat, and all that is known of starts is the control:
what it finds to differ is added to every interval, as the square root of the sum of squares.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.stats import t as student

from flows.analysis.judgement import Ratio

FEWEST = 3
"""Repeats of one start that an interval needs; two of them would make it 13 times their error."""
_FREEDOM = 2
"""Degrees of freedom that it needs."""
Starts = Sequence[float]
"""The start of every repeat, by any number that names it; empty where there is one."""
Pairs = Sequence[tuple[float, float]]
"""Variant's and baseline's value in every repeat."""


@dataclass(frozen=True)
class Spread:
    """How far the logarithm of a ratio varies from start to start."""

    variance: float
    freedom: int
    control: float = 0.0
    """The mean of the control, where there is one start: how far two starts of the same differ."""


SpreadOf = Callable[[tuple[int, int], str], Spread | None]
"""Of a figure, at the variant's and the baseline's index in the grid."""


def no_spread(_indices: tuple[int, int], _figure: str) -> Spread | None:
    """Where nobody else was measured."""
    return None


def ratio(
    pairs: Pairs, better: int, confidence: float, starts: Starts = (), spread: Spread | None = None
) -> Ratio | None:
    """Variant over base, turned so that above 1 is better; None where a value is not positive.

    Args:
        better: 1 where more is better, -1 where less is.
        spread: as of `spread_of`, by all variants; None to judge by these pairs alone.
    """
    logarithms = of_units(pairs, starts, better)
    if logarithms is None:
        return None
    value, reach = float(logarithms.mean()), _reach(logarithms, confidence, bool(starts), spread)
    if reach is None:
        return Ratio(math.exp(value), None, None)
    return Ratio(math.exp(value), math.exp(value - reach), math.exp(value + reach))


def is_below(
    ours: np.ndarray, theirs: np.ndarray, confidence: float, spreads: tuple[Spread | None, Spread | None]
) -> bool:
    """Whether the mean of some units is shown to be below that of others, each of them a start; not without a spread
    by all variants.

    Args:
        ours: logarithms of the ratio to the baseline by start, turned so that more is better.
        spreads: of ours and of theirs.
    """
    known = [spread for spread in spreads if spread and spread.freedom >= _FREEDOM]
    if len(known) < len(spreads):
        return False
    error = math.sqrt(known[0].variance / len(ours) + known[1].variance / len(theirs))
    return float(ours.mean() - theirs.mean()) + _quantile(confidence, min(s.freedom for s in known)) * error < 0


def at_every_look(confidence: float, looks: int) -> float:
    """Of one interval, so that those of all looks together have the confidence (Bonferroni)."""
    return 1 - (1 - confidence) / looks


def of_units(pairs: Pairs, starts: Starts, better: int = 1) -> np.ndarray | None:
    """Logarithms of the ratio by start, or by repeat where there is one start; None where a value is not positive."""
    if not pairs or min(min(pair) for pair in pairs) <= 0:
        return None
    logarithms: np.ndarray = better * np.log(np.array([ours / theirs for ours, theirs in pairs]))
    if not starts:
        return logarithms
    names = sorted(set(starts))
    return np.array([logarithms[np.array(starts) == name].mean() for name in names])


def spread_of(variants: Sequence[np.ndarray], control: np.ndarray | None, *, one_start: bool) -> Spread | None:
    """How far ratios vary between starts; None where nothing tells.

    Args:
        variants: logarithms by start of each variant.
        control: of the baseline against itself.
    """
    if one_start:
        return Spread(0.0, 0, float(control.mean())) if control is not None else None
    around = [units - units.mean() for units in variants]
    squares = sum(float((deviations**2).sum()) for deviations in around) + (
        float((control**2).sum()) if control is not None else 0
    )
    freedom = sum(len(deviations) - 1 for deviations in around) + (len(control) if control is not None else 0)
    return Spread(squares / freedom, freedom) if freedom else None


def _reach(units: np.ndarray, confidence: float, several: bool, spread: Spread | None) -> float | None:
    """Half of the interval of the mean of some units; None where they are too few."""
    if not several:
        if len(units) < FEWEST:
            return None
        return math.hypot(_student(float(units.var(ddof=1)), len(units) - 1, len(units), confidence), _control(spread))
    if spread is None and len(units) > 1:
        spread = Spread(float(units.var(ddof=1)), len(units) - 1)
    if spread is None or spread.freedom < _FREEDOM or len(units) < 2:
        return None
    return _student(spread.variance, spread.freedom, len(units), confidence)


def _control(spread: Spread | None) -> float:
    return spread.control if spread else 0.0


def _student(variance: float, freedom: int, units: int, confidence: float) -> float:
    return _quantile(confidence, freedom) * math.sqrt(variance / units)


@cache
def _quantile(confidence: float, freedom: int) -> float:
    """Of Student's t, for a two-sided interval."""
    return float(student.ppf(0.5 + confidence / 2, freedom))
