"""The Pareto front over accuracy, cost and latency: which variant to run at which load, whatever one of them is worth.
Pure functions.

Every sound point of every variant is an operating point, as an engine that is loaded more is cheaper and slower. The
front is by means: it says what was measured to be better, not what is shown to be.
"""

from collections.abc import Sequence

from flows.analysis.judgement import Judged, OperatingPoint, Point
from flows.analysis.performance import price_of_tokens

_LATENCY = "request_latency_p95_ms"


def front(judged: Sequence[Judged]) -> tuple[OperatingPoint, ...]:
    """The operating points that no other dominates."""
    points = operating_points(judged)
    return tuple(mine for mine in points if not any(_dominates(other, mine) for other in points))


def operating_points(judged: Sequence[Judged]) -> list[OperatingPoint]:
    """Every point at which a variant could be run and whose latency was measured. Prices are taken where every variant
    has one."""
    with_price = priced(judged)
    return [
        _operating_point(variant, point, (variant.price_per_hour if with_price else None) or variant.gpus)
        for variant in judged
        for point in variant.points
        if point.sound and _LATENCY in point.figures and point.figures["output_tokens_per_second"].mean > 0
    ]


def priced(judged: Sequence[Judged]) -> bool:
    """Whether costs are prices, and not hours of a device."""
    return all(variant.price_per_hour is not None for variant in judged)


def _operating_point(variant: Judged, point: Point, per_hour: float) -> OperatingPoint:
    cost = price_of_tokens(per_hour, point.figures["output_tokens_per_second"].mean)
    latency = point.figures[_LATENCY].mean
    return OperatingPoint(variant.name, point.asked, point.unit, _accuracy(variant), cost, latency)


def _dominates(other: OperatingPoint, mine: OperatingPoint) -> bool:
    theirs, ours = ((p.accuracy, -p.cost, -p.latency_ms) for p in (other, mine))
    return theirs != ours and all(a >= b for a, b in zip(theirs, ours, strict=True))


def _accuracy(variant: Judged) -> float:
    """Mean difference from the base over judged tasks, more being better; 0 for the base itself."""
    changes = [d.turned(d.difference) for d in variant.differences if d.verdict]
    return sum(changes) / len(changes) if changes else 0.0
