"""How far a variant leads the base by the objective, over loads that both are shown to keep. Pure functions.

Repeat by repeat, and each where it does best on the mean of the same loads: a choice that both have alike favours
neither, and a variant that may be measured at a heavier load, as the base happened to miss a limit there, does not lead
by the difference between two loads.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from configs.decision import Decision
from flows import performance
from flows.judgement import Lead, Point
from flows.performance import Sweep

_POWER = 0.8
_MOST_REPEATS = 100
"""Beyond which nobody repeats a load."""


@dataclass(frozen=True)
class Loaded:
    """A variant under one load."""

    size_bytes: int
    sweeps: list[Sweep]
    points: tuple[Point, ...]


def lead(ours: Loaded, theirs: Loaded, decision: Decision, variants: int) -> Lead | None:
    """The objective of a variant over the base's; None where no load that both keep tells.

    Args:
        variants: how many are compared with the base.
    """
    if decision.objective == "size":
        ratio = theirs.size_bytes / ours.size_bytes
        return Lead(ratio, ratio, ratio, ratio, ratio, len(ours.sweeps))
    if performance.by_grid(ours.points, decision):
        return _of_capacities(ours, theirs, decision, variants)
    figure, better = performance.compared_figure(decision)
    common = set(performance.eligible(ours.points, decision)) & set(performance.eligible(theirs.points, decision))
    places = [place for place in sorted(common) if _pairs(ours, theirs, (place, place), figure)]
    if not places:
        return None
    best = (_best(ours, places, figure, better), _best(theirs, places, figure, better))
    at = " against ".join(dict.fromkeys(ours.points[place].in_words for place in best))
    unsettled = _unsettled(ours, theirs, decision)
    return of_pairs(_pairs(ours, theirs, best, figure), better, decision, variants, at=at, unsettled=unsettled)


def _best(side: Loaded, places: Sequence[int], figure: str, better: int) -> int:
    return max(places, key=lambda place: better * float(np.mean([sweep[place][figure] for sweep in side.sweeps])))


def of_pairs(
    pairs: Sequence[tuple[float, float]],
    better: int,
    decision: Decision,
    variants: int,
    *,
    at: str | None = None,
    unsettled: tuple[str, ...] = (),
) -> Lead | None:
    """The lead that values of variant and base show, repeat by repeat; None where one is not positive.

    Args:
        better: 1 where more is better, -1 where less is.
        variants: how many are compared with the base.
    """
    ours, theirs = zip(*pairs, strict=True)
    found = performance.ratio(ours, theirs, better, decision.confidence)
    sure, most = (performance.ratio(ours, theirs, better, decision.over(of).confidence) for of in (variants, 1))
    if found is None or sure is None or most is None:
        return None
    needed = _repeats_needed(better * np.log(np.array(ours) / np.array(theirs)), decision, variants)
    return Lead(found.value, found.low, found.high, sure.low, most.high, len(pairs), at, unsettled, needed)


def _pairs(ours: Loaded, theirs: Loaded, at: tuple[int, int], figure: str) -> list[tuple[float, float]]:
    """Variant's and base's value in every repeat, each at its place; none where one has no such figure or it is 0."""
    rows = zip(ours.sweeps, theirs.sweeps, strict=False)
    found = [(mine[at[0]].get(figure, 0.0), base[at[1]].get(figure, 0.0)) for mine, base in rows]
    return found if all(min(pair) > 0 for pair in found) else []


def _unsettled(ours: Loaded, theirs: Loaded, decision: Decision) -> tuple[str, ...]:
    """Loads that may be kept by both as well, at which the variant may have the smallest gain."""
    if decision.objective not in ("throughput", "cost", "goodput"):
        return ()
    figure, better = performance.compared_figure(decision)
    found = []
    for place, both in enumerate(zip(ours.points, theirs.points, strict=True)):
        standings = {point.standing for point in both}
        if "not shown" not in standings or "breaks" in standings or any(point.void for point in both):
            continue
        pairs = _pairs(ours, theirs, (place, place), figure)
        ratio = of_pairs(pairs, better, decision, variants=1) if pairs else None
        if ratio is None or not excluded(ratio, decision):
            found.append(both[0].in_words)
    return tuple(found)


def _of_capacities(ours: Loaded, theirs: Loaded, decision: Decision, variants: int) -> Lead | None:
    """The ratio of two capacities, each of which lies between two points of the grid: between the heaviest that is
    shown to keep to the limits and the lightest that is shown to break one."""
    mine, base = (performance.capacity(side.points) for side in (ours, theirs))
    wide = decision.over(variants)
    surely = [performance.capacity(performance.points(side.sweeps, wide)) for side in (ours, theirs)]
    if mine.asked is None or base.asked is None:
        return None
    low = mine.asked / base.below if base.below else None
    high = mine.below / base.asked if mine.below else None
    sure = surely[0].asked / surely[1].below if surely[0].asked and surely[1].below else None
    return Lead(mine.asked / base.asked, low, high, sure, high, len(ours.sweeps))


def _repeats_needed(logarithms: np.ndarray, decision: Decision, variants: int) -> int | None:
    """Repeats that show a gain as large as was found to be above the smallest one, or below it.

    Args:
        logarithms: of the ratio in every repeat, turned so that more is better.
    """
    if len(logarithms) < 2:
        return None
    distance, spread = float(logarithms.mean()) - math.log(1 + decision.min_gain), float(logarithms.std(ddof=1))
    confidence = decision.over(variants if distance > 0 else 1).confidence
    repeats = np.arange(performance.FEWEST, _MOST_REPEATS + 1)
    quantiles = student.ppf(0.5 + confidence / 2, repeats - 1) + student.ppf(_POWER, repeats - 1)
    enough = repeats[quantiles * spread / np.sqrt(repeats) <= abs(distance)]
    return int(enough[0]) if len(enough) else None


def shown(found: Lead, decision: Decision) -> bool:
    """Whether a gain is above the smallest one, for all variants at once."""
    return found.sure is not None and found.sure > 1 + decision.min_gain


def excluded(found: Lead, decision: Decision) -> bool:
    """Whether a gain is below the smallest one. Every variant's must be for the base to be kept, so that nothing has to
    be corrected."""
    return found.most is not None and found.most < 1 + decision.min_gain and not found.unsettled
