"""How far a variant leads the baseline by the objective, over loads that both are shown to keep. Pure functions.

Repeat by repeat, and each where it does best on the mean of the same loads: a choice that both have alike favours
neither, and a variant that may be measured at a heavier load, as the baseline happened to miss a limit there, does not
lead by the difference between two loads.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.stats import t as student

from configs.decision import Decision
from flows.analysis import performance
from flows.analysis.judgement import Lead, Point
from flows.analysis.performance import Sweep
from flows.analysis.ratios import (
    FEWEST,
    Pairs,
    Spread,
    SpreadOf,
    Starts,
    at_every_look,
    is_below,
    no_spread,
    of_units,
    ratio,
)

_POWER = 0.8
_MOST_REPEATS = 100
"""Beyond which nobody repeats a load."""


@dataclass(frozen=True)
class Benchmarked:
    """A variant under one load."""

    size_bytes: int
    sweeps: list[Sweep]
    points: tuple[Point, ...]
    starts: Starts = ()
    """As of `flows.analysis.ratios`."""
    looks: int = 1
    """At which its repeats might have been enough."""
    price_per_hour: float = 1.0
    """Of its engine; for `cost`."""


InTurn = tuple[Benchmarked, Benchmarked]
"""A variant, and the baseline in turn with it."""


def lead(
    ours: Benchmarked, theirs: Benchmarked, decision: Decision, variants: int, spread: SpreadOf = no_spread
) -> Lead | None:
    """The objective of a variant over the baseline's; None where no load that both keep tells.

    Args:
        theirs: the baseline in turn with the variant.
        variants: how many are compared with the baseline.
        spread: of a figure at two points, by all variants.
    """
    if decision.objective == "size":
        ratio = theirs.size_bytes / ours.size_bytes
        return Lead(ratio, ratio, ratio, ratio, ratio, len(ours.sweeps))
    if performance.by_grid(ours.points, decision.objective):
        return _of_capacities(ours, theirs, decision, variants)
    figure, better = performance.compared_figure(decision)
    if (best := _where_best(ours, theirs, decision)) is None:
        return None
    at = " against ".join(dict.fromkeys(ours.points[index].in_words for index in best))
    unsettled = _unsettled(ours, theirs, decision, spread)
    pairs, variation = _pairs(ours, theirs, best, decision), spread(best, figure)
    return of_pairs(
        pairs,
        better,
        decision,
        variants,
        starts=ours.starts,
        spread=variation,
        looks=ours.looks,
        at=at,
        unsettled=unsettled,
    )


def _where_best(ours: Benchmarked, theirs: Benchmarked, decision: Decision) -> tuple[int, int] | None:
    """The points at which a variant and the baseline do best, among those that both keep; None where there is none."""
    figure, better = performance.compared_figure(decision)
    common = set(performance.eligible(ours.points, decision)) & set(performance.eligible(theirs.points, decision))
    indices = [index for index in sorted(common) if _pairs(ours, theirs, (index, index), decision)]
    return (_best(ours, indices, figure, better), _best(theirs, indices, figure, better)) if indices else None


def behind(ours: InTurn, best: InTurn, decision: Decision, variants: int, spread: SpreadOf) -> bool:
    """Whether a variant is shown to lead the baseline by less than another does, at an error that is split over all
    variants and looks, as that of the decision's own bounds is (Bonferroni).

    Args:
        ours: the variant and the baseline in turn with it, and `best` the same of the other.
        variants: how many are compared with the baseline.
        spread: of a figure at two points, by all variants.
    """
    wide = decision.over(variants * ours[0].looks)
    if decision.objective == "size":
        return ours[0].size_bytes > best[0].size_bytes
    if performance.by_grid(ours[0].points, decision.objective):
        most, least = (performance.capacity(performance.points(side[0].sweeps, wide)) for side in (ours, best))
        return most.below is not None and least.asked is not None and most.below <= least.asked
    figure, better = performance.compared_figure(decision)
    units, variations = [], []
    for side in (ours, best):
        at = _where_best(*side, decision)
        found = of_units(_pairs(*side, at, decision), side[0].starts, better) if at and side[0].starts else None
        if at is None or found is None:
            return False
        units.append(found)
        variations.append(spread(at, figure))
    return is_below(units[0], units[1], wide.confidence, (variations[0], variations[1]))


def _best(side: Benchmarked, indices: Sequence[int], figure: str, better: int) -> int:
    return max(indices, key=lambda index: better * float(np.mean([sweep[index][figure] for sweep in side.sweeps])))


def of_pairs(
    pairs: Pairs,
    better: int,
    decision: Decision,
    variants: int,
    *,
    starts: Starts = (),
    spread: Spread | None = None,
    looks: int = 1,
    at: str | None = None,
    unsettled: tuple[str, ...] = (),
) -> Lead | None:
    """The lead that values of variant and base show, repeat by repeat; None where one is not positive.

    Args:
        better: 1 where more is better, -1 where less is.
        variants: how many are compared with the baseline.
        starts: of every pair, and `spread` of all variants' pairs, as of `flows.analysis.ratios`.
        looks: at which the pairs might have been enough, so that the error is split over them (Bonferroni; Jennison and
            Turnbull, Group sequential methods, 2000, chapter 2, on why it has to be).
    """
    shown_at = at_every_look(decision.confidence, looks)
    levels = (shown_at, decision.over(variants * looks).confidence, decision.over(looks).confidence)
    interval, sure, most = (ratio(pairs, better, level, starts, spread) for level in levels)
    units = of_units(pairs, starts, better)
    if interval is None or sure is None or most is None or units is None:
        return None
    needed = _needed(units, decision, variants * looks, spread if starts else None)
    bounds = (interval.value, interval.low, interval.high, sure.low, most.high)
    return Lead(*bounds, len(pairs), at, unsettled, needed, starts=len(units) if starts else 1)


def _pairs(
    ours: Benchmarked, theirs: Benchmarked, at: tuple[int, int], decision: Decision
) -> list[tuple[float, float]]:
    """Variant's and baseline's value in every repeat, each at its own load, for `cost` tokens for the money; none where
    one has no figure or it is 0."""
    figure, _ = performance.compared_figure(decision)
    prices = (ours.price_per_hour, theirs.price_per_hour) if decision.objective == "cost" else (1.0, 1.0)
    rows = zip(ours.sweeps, theirs.sweeps, strict=False)
    pairs = [
        (mine[at[0]].get(figure, 0.0) / prices[0], base[at[1]].get(figure, 0.0) / prices[1]) for mine, base in rows
    ]
    return pairs if all(min(pair) > 0 for pair in pairs) else []


def _unsettled(ours: Benchmarked, theirs: Benchmarked, decision: Decision, spread: SpreadOf) -> tuple[str, ...]:
    """Loads that may be kept by both as well, at which the variant may have the smallest gain."""
    if decision.objective not in ("throughput", "cost", "energy", "goodput"):
        return ()
    figure, better = performance.compared_figure(decision)
    loads = []
    for index, both in enumerate(zip(ours.points, theirs.points, strict=True)):
        standings = {point.standing for point in both}
        if "not shown" not in standings or "breaks" in standings or any(point.void for point in both):
            continue
        pairs = _pairs(ours, theirs, (index, index), decision)
        variation = spread((index, index), figure)
        gain = (
            of_pairs(pairs, better, decision, 1, starts=ours.starts, spread=variation, looks=ours.looks)
            if pairs
            else None
        )
        if gain is None or not excluded(gain, decision):
            loads.append(both[0].in_words)
    return tuple(loads)


def _of_capacities(ours: Benchmarked, theirs: Benchmarked, decision: Decision, variants: int) -> Lead | None:
    """The ratio of two capacities, each of which lies between two points of the grid: between the heaviest that is
    shown to keep to the limits and the lightest that is shown to break one."""
    mine, base = (performance.capacity(side.points) for side in (ours, theirs))
    wide = decision.over(variants * ours.looks)
    surely = [performance.capacity(performance.points(side.sweeps, wide)) for side in (ours, theirs)]
    if mine.asked is None or base.asked is None:
        return None
    low = mine.asked / base.below if base.below else None
    high = mine.below / base.asked if mine.below else None
    sure = surely[0].asked / surely[1].below if surely[0].asked and surely[1].below else None
    return Lead(mine.asked / base.asked, low, high, sure, high, len(ours.sweeps))


def _needed(units: np.ndarray, decision: Decision, variants: int, spread: Spread | None) -> int | None:
    """Units (starts, or repeats of the one start) that show a gain as large as the measured one to be above the
    smallest gain, or below it.

    Args:
        units: logarithms of the ratio, turned so that more is better.
        spread: where it is known from all variants; more units of each bring it more degrees of freedom.
    """
    if len(units) < 2:
        return None
    distance = float(units.mean()) - math.log(1 + decision.min_gain)
    deviation = math.sqrt(spread.variance) if spread else float(units.std(ddof=1))
    confidence = decision.over(variants if distance > 0 else 1).confidence
    counts, quantiles = _quantiles(confidence, spread.freedom / len(units) if spread else None)
    enough = counts[quantiles * deviation / np.sqrt(counts) <= abs(distance)]
    return int(enough[0]) if len(enough) else None


@cache
def _quantiles(confidence: float, freedom: float | None) -> tuple[np.ndarray, np.ndarray]:
    """For so many units each, how many standard errors a mean has to be away to be shown with the power.

    Args:
        freedom: degrees of freedom that each unit brings; None where a variant stands for itself.
    """
    counts = np.arange(FEWEST if freedom is None else 2, _MOST_REPEATS + 1)
    degrees = counts - 1 if freedom is None else np.maximum(1, counts * freedom)
    return counts, student.ppf(0.5 + confidence / 2, degrees) + student.ppf(_POWER, degrees)


def shown(gain: Lead, decision: Decision) -> bool:
    """Whether a gain is above the smallest one, for all variants at once."""
    return gain.sure is not None and gain.sure > 1 + decision.min_gain


def excluded(gain: Lead, decision: Decision) -> bool:
    """Whether a gain is below the smallest one. Every variant's must be for the baseline to be kept, so that nothing
    has to be corrected."""
    return gain.most is not None and gain.most < 1 + decision.min_gain and not gain.unsettled
