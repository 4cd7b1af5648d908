"""The Pareto front over accuracy, cost and latency: which variant to run at which load, whatever one of them is worth.
Pure functions.

Every sound point of every variant is an operating point, as an engine that is loaded more is cheaper and slower. What
was measured in different blocks is not compared, so a variant is where its ratios to the baseline at the same load put
it, from where the baseline is. The front is by means: it says what was measured to be better, not what is shown to be.
"""

from collections.abc import Sequence

from flows.analysis.judgement import Judged, OperatingPoint, Point
from flows.analysis.performance import price_of_tokens

_SPEED, _LATENCY = "output_tokens_per_second", "request_latency_p95_ms"


def front(judged: Sequence[Judged]) -> tuple[OperatingPoint, ...]:
    """The operating points that no other dominates; the baseline comes first in `judged`."""
    points = operating_points(judged)
    return tuple(mine for mine in points if not any(_dominates(other, mine) for other in points))


def operating_points(judged: Sequence[Judged]) -> list[OperatingPoint]:
    """Every point at which a variant could be run and whose speed and latency were measured, of a variant in turn with
    the baseline. Prices are taken where every variant has one."""
    with_price = priced(judged)
    made = []
    for variant in judged:
        per_hour = (variant.price_per_hour if with_price else None) or variant.gpus
        for point in variant.points:
            if point.sound and (figures := _figures(variant, judged[0], point)):
                cost = price_of_tokens(per_hour, figures[0])
                made.append(OperatingPoint(variant.name, point.asked, point.unit, _accuracy(variant), cost, figures[1]))
    return made


def _figures(variant: Judged, base: Judged, point: Point) -> tuple[float, float] | None:
    """Output tokens per second and latency at a point; None where the baseline or a ratio is missing."""
    theirs = next((p for p in base.points if (p.asked, p.unit) == (point.asked, point.unit)), None)
    if theirs is None or not theirs.counts or not {_SPEED, _LATENCY} <= set(theirs.figures):
        return None
    speed, latency = theirs.figures[_SPEED].mean, theirs.figures[_LATENCY].mean
    if variant is base:
        return speed, latency
    gains = {g.figure: g.ratio.value for g in variant.gains if (g.asked, g.unit) == (point.asked, point.unit)}
    if not {_SPEED, _LATENCY} <= set(gains):
        return None
    return speed * gains[_SPEED], latency / gains[_LATENCY]


def priced(judged: Sequence[Judged]) -> bool:
    """Whether costs are prices, and not hours of a device."""
    return all(variant.price_per_hour is not None for variant in judged)


def _dominates(other: OperatingPoint, mine: OperatingPoint) -> bool:
    theirs, ours = ((p.accuracy, -p.cost, -p.latency_ms) for p in (other, mine))
    return theirs != ours and all(a >= b for a, b in zip(theirs, ours, strict=True))


def _accuracy(variant: Judged) -> float:
    """Mean difference from the baseline over judged tasks, more being better; 0 for the baseline itself."""
    changes = [d.turned(d.difference) for d in variant.differences if d.verdict]
    return sum(changes) / len(changes) if changes else 0.0
