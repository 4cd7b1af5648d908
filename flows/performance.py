"""What the repeats of a load say of a variant, and of a variant against the base. Pure functions.

A figure is the mean over repeats with Student's t interval. A limit is kept or broken where the repeats show
it; what they leave open is told as such. Variants are compared with the base at the same point of the common grid
only, and within blocks (`flows.stages.block`): repeat by repeat with the base that was loaded in turn with them
(`flows.ratios`), so what drifts on the machine meets both and leaves the ratio alone.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from statsmodels.stats.proportion import proportion_confint

from actors.benchmarker import REQUESTS
from configs.decision import Constraints, Decision
from flows import requests
from flows.intervals import Bounds, mean_interval
from flows.judgement import VOID, Capacity, Estimate, Gain, Point, Standing
from flows.ratios import FEWEST, SpreadOf, Starts, no_spread, ratio
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
Sweep = list[dict[str, Any]]
"""One repeat: every point of the grid, in the grid's order, with its figures."""


def sweeps(records: Sequence[Record], limits: Constraints) -> list[Sweep]:
    """The repeats of a variant, goodput under these limits among their figures."""
    return [_with_goodput(record, record.result["points"], "", limits) for record in records]


def sweeps_of_base(records: Sequence[Record], limits: Constraints) -> list[Sweep]:
    """The same of the base that was loaded in turn with a variant; none where none was."""
    found = (record for record in records if "base" in record.result)
    return [_with_goodput(record, record.result["base"]["points"], "base", limits) for record in found]


def _with_goodput(record: Record, points: Sweep, place: str, limits: Constraints) -> Sweep:
    if not limits.latency_limits_ms:
        return points
    with record.files.held() as files:
        folder = files / place
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


def _bounds(values: Sequence[float], confidence: float) -> Bounds | None:
    """The interval of a mean over repeats; two of them would make it 13 times their error."""
    return mean_interval(np.array(values), None, confidence) if len(values) >= FEWEST else None


def points(repeats: list[Sweep], decision: Decision) -> tuple[Point, ...]:
    """Every point of the grid over its repeats."""
    return tuple(_point([sweep[place] for sweep in repeats], decision) for place in range(len(repeats[0])))


def _point(seen: list[dict[str, Any]], decision: Decision) -> Point:
    first, open_loop = seen[0], seen[0]["unit"] != _STREAMS
    shared = set.intersection(*(set(found) for found in seen)) - {"asked", "unit"}
    figures = {name: estimate([found[name] for found in seen], decision.confidence) for name in sorted(shared)}
    notes = Counter(note for found in seen for note in requests.labels(found, open_loop=open_loop))
    idle = sum(not found["requests"] for found in seen)
    limits = [
        _nothing_ended(seen, idle),
        _errors(seen, decision.confidence),
        _saturation(notes["saturated"], len(seen)),
        *_latencies(figures, decision.constraints),
    ]
    marked = [note for note, times in notes.items() if note in VOID or (note != "errors" and 2 * times > len(seen))]
    return Point(
        asked=first["asked"],
        unit=first["unit"],
        repeats=len(seen),
        figures=figures,
        labels=(*marked, *(["errors"] if limits[1][0] != "keeps" else [])),
        violations=tuple(words for standing, words in limits if standing == "breaks"),
        idle=idle,
        unsure=tuple(words for standing, words in limits if standing == "not shown"),
    )


_Limit = tuple[Standing, str]
"""What the repeats show of a limit, and in words why it is not kept."""


def _nothing_ended(seen: list[dict[str, Any]], idle: int) -> _Limit:
    """What a load asks for whatever its limits are: that requests end while it is measured."""
    where = "" if idle == len(seen) else f" in {idle} of {len(seen)} repeats"
    return ("breaks", f"no request ended within {seen[0]['seconds']:.3g} s{where}") if idle else ("keeps", "")


def _errors(seen: list[dict[str, Any]], confidence: float) -> _Limit:
    """Whether more requests fail than may, over all repeats; more of them are where the whole exact interval of their
    share is above (Clopper and Pearson 1934). A share that is not above is taken as kept: that a hundred requests
    without an error are too few to exclude one in a hundred is not held against anybody."""
    failed = round(sum(found["errors"] for found in seen))
    count = round(sum(found["requests"] for found in seen)) + failed
    if failed <= requests.MOST_ERRORS * count:
        return "keeps", ""
    words = f"{failed} of {count} requests failed, over {100 * requests.MOST_ERRORS:g} %"
    low, _ = proportion_confint(failed, count, alpha=1 - confidence, method="beta")
    return ("breaks", words) if low > requests.MOST_ERRORS else ("not shown", f"{words}, which so few do not show")


def _saturation(times: int, repeats: int) -> _Limit:
    """A label has no interval: it is shown where every repeat has it, and there are as many as an interval needs."""
    if 2 * times <= repeats:
        return "keeps", ""
    words = f"more than the server can take in {times} of {repeats} repeats"
    return ("breaks" if times == repeats >= FEWEST else "not shown"), words


def _latencies(figures: dict[str, Estimate], limits: Constraints) -> list[_Limit]:
    return [
        _latency(LATENCY_WORDS[name], figures[f"{name}_p95_ms"], limit)
        for name, limit in limits.latency_limits_ms.items()
        if f"{name}_p95_ms" in figures
    ]


def _latency(name: str, p95: Estimate, limit: float) -> _Limit:
    """A limit is kept where the whole interval of the mean over repeats is within, and broken where it is beyond."""
    if p95.low is None or p95.high is None:
        return "not shown", f"{name} p95 is {p95.mean:.4g} ms in fewer than {FEWEST} repeats: limit of {limit:g} ms"
    if p95.high <= limit:
        return "keeps", ""
    if p95.low > limit:
        return "breaks", f"{name} p95 is {p95.mean:.4g} ms, over the limit of {limit:g} ms"
    bounds = f"[{p95.low:.4g}, {p95.high:.4g}] ms"
    return "not shown", f"{name} p95 is {p95.mean:.4g} {bounds}, on both sides of the limit of {limit:g} ms"


def capacity(measured: Sequence[Point]) -> Capacity:
    """The heaviest point that is shown to keep to the limits together with all lighter ones; void points are left out.

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
        violating=tuple(point.asked for point in grid if point.standing == "breaks"),
        kept_again=tuple(point.asked for point, good in list(zip(grid, kept, strict=True))[lasting:] if good),
        not_shown=tuple(point.asked for point in grid if point.standing == "not shown"),
    )


def gains(
    variant: list[Sweep], base: list[Sweep], confidence: float, starts: Starts = (), spread: SpreadOf = no_spread
) -> tuple[Gain, ...]:
    """Every compared figure at every load that both were put under, where it counts in every repeat of both.

    Args:
        base: in turn with the variant.
        starts: as of `flows.ratios.ratio`.
        spread: of a figure at a point.
    """
    found = []
    for place, point in enumerate(variant[0] if base else []):
        key = (point["unit"], point["asked"])
        matched = next((i for i, p in enumerate(base[0]) if (p["unit"], p["asked"]) == key), None)
        if matched is None or not (_counts(variant, place) and _counts(base, matched)):
            continue
        for figure, better in _COMPARED.items():
            ours, theirs = (_values(s, at, figure) for s, at in ((variant, place), (base, matched)))
            if len(ours) != len(variant) or len(theirs) != len(base):
                continue
            pairs = list(zip(ours, theirs, strict=True))
            if compared := ratio(pairs, better, confidence, starts, spread((place, matched), figure)):
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
    """The objective's value in every repeat, at the one point of the load at which it is best on the mean (the best of
    every repeat would be better than any point is); None where no point lets it be measured."""
    if decision.objective == "size":
        return [size_bytes / 1e9] * len(repeats)
    if decision.objective == "capacity":
        grid = [point for point in measured if not point.void]
        return [capacity(grid).asked or 0.0] * len(repeats) if grid else None
    figure, better = compared_figure(decision)
    places = [place for place in eligible(measured, decision) if _everywhere(repeats, place, figure)]
    if not places:
        return None
    values = (_values(repeats, place, figure) for place in places)
    found = max(values, key=lambda of: better * float(np.mean(of)))
    return [_price(decision, speed) for speed in found] if decision.objective == "cost" else found


def compared_figure(decision: Decision) -> tuple[str, int]:
    """The figure of a point by which its objective is told, and whether more (1) or less (-1) of it is better."""
    match decision.objective:
        case "ttft" | "itl" as latency:
            return f"{latency}_p95_ms", -1
        case "goodput":
            return "goodput_per_second", 1
        case _:
            return "output_tokens_per_second", 1


def eligible(measured: Sequence[Point], decision: Decision) -> list[int]:
    """Places of the points at which the objective may be taken: for latencies the lightest, for goodput all that are
    sound, else those that are shown to keep to the limits."""
    sound = [place for place, point in enumerate(measured) if point.sound]
    if decision.objective in ("ttft", "itl"):
        lightest = min(range(len(measured)), key=lambda place: measured[place].asked)
        return [place for place in sound if place == lightest]
    return [place for place in sound if decision.objective == "goodput" or measured[place].usable]


def _everywhere(repeats: list[Sweep], place: int, figure: str) -> bool:
    return all(figure in sweep[place] for sweep in repeats)


def _price(decision: Decision, tokens_per_second: float) -> float:
    """Of a million output tokens."""
    return (decision.price_per_hour or 0.0) / (3600 * tokens_per_second) * 1e6
