"""What the repeats of a load say of a variant, and of a variant against the base. Pure functions.

A figure is the mean over repeats with Student's t interval. Variants are compared at the same point of
the common grid only, repeat by repeat: the ratio is that of the geometric means, its interval that of
the paired differences of logarithms. Repeats of one round follow each other, so what drifts on the
machine meets both and leaves the ratio alone.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from actors.benchmarker import REQUESTS
from configs.decision import Constraints, Decision
from flows import requests
from flows.intervals import Bounds, mean_interval
from flows.judgement import VOID, Capacity, Estimate, Gain, Point, Ratio
from flows.records import Record

_COMPARED = {
    "output_tokens_per_second": 1,
    "goodput_per_second": 1,
    "concurrency_mean": -1,
    "ttft_p50_ms": -1,
    "ttft_p95_ms": -1,
    "itl_p50_ms": -1,
    "itl_p95_ms": -1,
    "request_latency_p95_ms": -1,
}
"""Figures that are compared with the base at the same load, and whether more (1) or less (-1) is better."""
LATENCY_WORDS = {"ttft": "TTFT", "itl": "ITL", "request_latency": "request latency"}
_STREAMS = "streams"
_FEWEST = 3
"""Repeats that an interval needs."""

Sweep = list[dict[str, Any]]
"""One repeat: every point of the grid, in the grid's order, with its figures."""


def sweeps(records: Sequence[Record], limits: Constraints) -> list[Sweep]:
    """The repeats of a variant, goodput under these limits among their figures."""
    return [_with_goodput(record, limits) for record in records]


def _with_goodput(record: Record, limits: Constraints) -> Sweep:
    points: Sweep = record.result["points"]
    if not limits.latency_limits_ms:
        return points
    with record.files.held() as folder:
        if not (folder / REQUESTS).is_file():
            return points
        open_loop = points[0]["unit"] != _STREAMS
        read = requests.read(folder, [point["seconds"] for point in points], open_loop=open_loop)
    return [
        {**point, "goodput_per_second": requests.goodput(seen, limits)}
        for point, seen in zip(points, read, strict=True)
    ]


def estimate(values: Sequence[float], confidence: float) -> Estimate:
    """The mean of some repeats and its interval; none from fewer than three."""
    return Estimate(float(np.mean(values)), *(_bounds(values, confidence) or (None, None)))


def ratio(variant: Sequence[float], base: Sequence[float], better: int, confidence: float) -> Ratio | None:
    """Variant over base, turned so that above 1 is better; None where a value is not positive.

    Args:
        better: 1 where more is better, -1 where less is.
    """
    pairs = list(zip(variant, base, strict=False))
    if not pairs or min(min(pair) for pair in pairs) <= 0:
        return None
    logarithms = [better * float(np.log(ours / theirs)) for ours, theirs in pairs]
    value, bounds = float(np.exp(np.mean(logarithms))), _bounds(logarithms, confidence)
    return Ratio(value, *map(float, np.exp(bounds))) if bounds else Ratio(value, None, None)


def on_common_loads(ours: Sequence[Point], theirs: Sequence[Point]) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    """The points of two variants under the same load, a point that is void for one void for the other: else whoever
    was measured at the heavier one would seem to be the faster."""

    def marked(own: Sequence[Point], other: Sequence[Point]) -> tuple[Point, ...]:
        pairs = zip(own, other, strict=True)
        return tuple(replace(one, labels=(*one.labels, *VOID.intersection(two.labels))) for one, two in pairs)

    return marked(ours, theirs), marked(theirs, ours)


def lead(variant: Sequence[float], base: Sequence[float], better: int, decision: Decision) -> Ratio | None:
    """The objective of a variant over that of the base; exact for sizes, which no repeat changes."""
    found = ratio(variant, base, better, decision.confidence)
    if decision.objective == "size" and found is not None:
        return Ratio(found.value, found.value, found.value)
    return found


def _bounds(values: Sequence[float], confidence: float) -> Bounds | None:
    """The interval of a mean over repeats; two of them would make it 13 times their error."""
    return mean_interval(np.array(values), None, confidence) if len(values) >= _FEWEST else None


def points(repeats: list[Sweep], decision: Decision) -> tuple[Point, ...]:
    """Every point of the grid over its repeats."""
    return tuple(_point([sweep[place] for sweep in repeats], decision) for place in range(len(repeats[0])))


def _point(seen: list[dict[str, Any]], decision: Decision) -> Point:
    first, open_loop = seen[0], seen[0]["unit"] != _STREAMS
    shared = set.intersection(*(set(found) for found in seen)) - {"asked", "unit"}
    figures = {name: estimate([found[name] for found in seen], decision.confidence) for name in sorted(shared)}
    notes = Counter(note for found in seen for note in requests.labels(found, open_loop=open_loop))
    idle = sum(not found["requests"] for found in seen)
    return Point(
        asked=first["asked"],
        unit=first["unit"],
        repeats=len(seen),
        figures=figures,
        labels=tuple(note for note, times in notes.items() if note in VOID or 2 * times > len(seen)),
        violations=(*_nothing_ended(seen, idle), *_violations(figures, decision.constraints)),
        idle=idle,
    )


def _nothing_ended(seen: list[dict[str, Any]], idle: int) -> list[str]:
    """What a load asks for whatever its limits are: that requests end while it is measured."""
    if not idle:
        return []
    where = "" if idle == len(seen) else f" in {idle} of {len(seen)} repeats"
    return [f"no request ended within {seen[0]['seconds']:.3g} s{where}"]


def _violations(figures: dict[str, Estimate], limits: Constraints) -> list[str]:
    found = []
    for name, limit in limits.latency_limits_ms.items():
        measured = figures.get(f"{name}_p95_ms")
        if measured is not None and measured.mean > limit:
            found.append(f"{LATENCY_WORDS[name]} p95 is {measured.mean:.4g} ms, over the limit of {limit:g} ms")
    return found


def capacity(measured: Sequence[Point]) -> Capacity:
    """The heaviest point that keeps to the limits together with all lighter ones; void points are left out.

    Points that keep to them again behind one that does not are named: the answer is not monotone, and
    a search that happened to look only there would have been wrong.
    """
    unit = measured[-1].unit
    asked = (point for point in measured if point.unit == unit and not point.void)
    grid = sorted(asked, key=lambda point: point.asked)
    kept = [point.usable for point in grid]
    lasting = kept.index(False) if False in kept else len(kept)
    return Capacity(
        unit=unit,
        asked=grid[lasting - 1].asked if lasting else None,
        violating=tuple(point.asked for point in grid if not point.usable),
        kept_again=tuple(point.asked for point, good in list(zip(grid, kept, strict=True))[lasting:] if good),
    )


def gains(variant: list[Sweep], base: list[Sweep], confidence: float) -> tuple[Gain, ...]:
    """Every compared figure at every load that both were put under, where it counts in every repeat of both."""
    found = []
    for place, point in enumerate(variant[0]):
        key = (point["unit"], point["asked"])
        matched = next((i for i, p in enumerate(base[0]) if (p["unit"], p["asked"]) == key), None)
        if matched is None or not (_counts(variant, place) and _counts(base, matched)):
            continue
        for figure, better in _COMPARED.items():
            ours, theirs = (_values(s, at, figure) for s, at in ((variant, place), (base, matched)))
            if ours and theirs and (compared := ratio(ours, theirs, better, confidence)):
                means = float(np.mean(theirs)), float(np.mean(ours))
                found.append(Gain(point["asked"], point["unit"], figure, *means, compared))
    return tuple(found)


def _counts(repeats: list[Sweep], place: int) -> bool:
    return all(requests.counts(sweep[place]) for sweep in repeats)


def _values(repeats: list[Sweep], place: int, figure: str) -> list[float]:
    return [sweep[place][figure] for sweep in repeats if figure in sweep[place]]


def objective(
    repeats: list[Sweep], measured: Sequence[Point], size_bytes: int, decision: Decision
) -> list[float] | None:
    """The objective's value in every repeat; None where no point of the load lets it be measured."""
    usable = [place for place, point in enumerate(measured) if point.usable]
    counted = [place for place, point in enumerate(measured) if point.counts]

    def best(figure: str, places: Sequence[int], choose: Callable[[list[float]], float]) -> list[float] | None:
        values = [[sweep[i][figure] for i in places if figure in sweep[i]] for sweep in repeats]
        return [choose(v) for v in values] if all(values) else None

    match decision.objective:
        case "size":
            return [size_bytes / 1e9] * len(repeats)
        case "throughput":
            return best("output_tokens_per_second", usable, max)
        case "cost":
            speeds = best("output_tokens_per_second", usable, max)
            return [_price(decision, speed) for speed in speeds] if speeds else None
        case "goodput":
            return best("goodput_per_second", counted, max)
        case "capacity":
            return _capacities(repeats, measured, decision)
        case "ttft" | "itl" as latency:
            return best(f"{latency}_p95_ms", [place for place in counted if place == 0], min)


def _capacities(repeats: list[Sweep], measured: Sequence[Point], decision: Decision) -> list[float] | None:
    """The capacity in every repeat, 0 where the lightest point breaks a limit; None where all are void. What does not
    count in one repeat counts in none."""
    if all(point.void for point in measured):
        return None
    found = []
    for sweep in repeats:
        own = points([sweep], decision)
        kept = [one if whole.counts else whole for one, whole in zip(own, measured, strict=True)]
        found.append(capacity(kept).asked or 0.0)
    return found


def _price(decision: Decision, tokens_per_second: float) -> float:
    """Of a million output tokens."""
    return (decision.price_per_hour or 0.0) / (3600 * tokens_per_second) * 1e6
