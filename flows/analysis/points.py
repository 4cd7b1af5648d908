"""What the repeats of a load say of each of its points. Pure functions.

A figure is the mean over repeats with Student's t interval; a percentile is that of all repeats' requests together,
with bounds that need enough of them (`flows.statistics.percentiles`). A limit is kept or broken where they show it;
what they leave open is reported as such.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from statsmodels.stats.proportion import proportion_confint

from actors.artifacts import REQUESTS
from configs.decision import Constraints, Decision
from flows.analysis import requests
from flows.analysis.judgement import FEW_REQUESTS, VOID, Capacity, Estimate, Point, Standing
from flows.analysis.ratios import FEWEST
from flows.statistics import percentiles
from flows.statistics.intervals import Bounds, mean_interval
from flows.statistics.percentiles import share_bounds
from flows.store.records import Record
from flows.store.results import Benchmark

LATENCY_WORDS = {"ttft": "TTFT", "tpot": "TPOT", "request_latency": "request latency"}
_STREAMS = "streams"
LIMITED = 95
"""The percentile of a latency that limits and objectives go by."""
BASE = "base"
"""In a record of a block: what the baseline did in it, and the folder of its requests."""
SEEN = "seen"
"""In a point of a sweep: its requests, where their records have them one by one."""
_KEPT_READ = 512
"""Benchmarks whose requests stay in memory: a run is judged again and again."""

Sweep = list[dict[str, Any]]
"""One repeat: every point of the grid, in the grid's order, with its figures and `SEEN`."""


def with_requests(record: Record[Benchmark], limits: Constraints, side: str = "") -> Sweep:
    """A repeat, with the requests of every point where they are known, and goodput under these limits.

    Args:
        side: BASE for the baseline that was benchmarked in turn with the variant, which the record is of.
    """
    of_side = record.result.base if side else record.result
    assert of_side is not None, "there is a baseline where it is asked for"
    points: Sweep = list(of_side.points)
    with record.files.held() as files:
        folder = files / side
        if not (folder / REQUESTS).is_file():
            return points
        windows = tuple(point["seconds"] for point in points)
        read = _read(folder, record.fingerprint, windows, open_loop=points[0]["unit"] != _STREAMS)
    sweep = [{**point, SEEN: of_point} for point, of_point in zip(points, read, strict=True)]
    if not limits.latency_limits_ms:
        return sweep
    return [{**point, "goodput_per_second": requests.goodput(point[SEEN], limits)} for point in sweep]


@lru_cache(maxsize=_KEPT_READ)
def _read(folder: Path, _fingerprint: str, windows_s: tuple[float, ...], *, open_loop: bool) -> list[requests.Requests]:
    """A record never changes, so that its requests are read once."""
    return requests.read(folder, list(windows_s), open_loop=open_loop)


def estimate(values: Sequence[float], confidence: float) -> Estimate:
    """The mean of some repeats and its interval; none from fewer than three."""
    return Estimate(float(np.mean(values)), *(over_repeats(values, confidence) or (None, None)))


def over_repeats(values: Sequence[float], confidence: float) -> Bounds | None:
    """The interval of a mean over repeats; two of them would make it 13 times their error."""
    return mean_interval(np.array(values), None, confidence) if len(values) >= FEWEST else None


def points(repeats: list[Sweep], decision: Decision) -> tuple[Point, ...]:
    """Every point of the grid over its repeats."""
    return tuple(_point([sweep[index] for sweep in repeats], decision) for index in range(len(repeats[0])))


def _point(rows: list[dict[str, Any]], decision: Decision) -> Point:
    first, open_loop = rows[0], rows[0]["unit"] != _STREAMS
    shared = set.intersection(*(set(row) for row in rows)) - {"asked", "unit", SEEN}
    figures = {name: estimate([row[name] for row in rows], decision.confidence) for name in sorted(shared)}
    has_requests = all(SEEN in row for row in rows)
    by_share = has_requests and decision.by_attainment
    latencies = _latencies(rows) if has_requests else {}
    figures |= _pooled(latencies, decision.confidence)
    notes = Counter(note for row in rows for note in requests.labels(row, open_loop=open_loop))
    idle, ended = sum(not row["requests"] for row in rows), round(sum(row["requests"] for row in rows))
    limits = [
        _nothing_ended(rows, idle),
        _errors(rows, decision.confidence),
        _saturation(notes["saturated"], len(rows)),
        *([_attainment(rows, decision)] if by_share else _within_limits(rows, figures, latencies, decision)),
    ]
    marked = [note for note, times in notes.items() if note in VOID or (note != "errors" and 2 * times > len(rows))]
    few = 0 < ended < percentiles.fewest(LIMITED, decision.confidence)
    return Point(
        asked=first["asked"],
        unit=first["unit"],
        repeats=len(rows),
        figures=figures,
        labels=(*marked, *(["errors"] if limits[1][0] != "keeps" else []), *([FEW_REQUESTS] if few else [])),
        violations=tuple(words for standing, words in limits if standing == "breaks"),
        idle=idle,
        unsure=tuple(words for standing, words in limits if standing == "not shown"),
    )


_Latencies = dict[str, list[np.ndarray]]
"""By name, of every repeat the requests that have it, in ms. Empty for figures that others published, which have no
requests one by one: their limits go by the percentiles of the repeats."""


def _latencies(rows: list[dict[str, Any]]) -> _Latencies:
    repeats = [row[SEEN].latencies_ms() for row in rows]
    return {name: [values[name][~np.isnan(values[name])] for values in repeats] for name in LATENCY_WORDS}


def _pooled(latencies: _Latencies, confidence: float) -> dict[str, Estimate]:
    """Percentiles of the latencies of all repeats together."""
    pooled = {}
    for name, repeats in latencies.items():
        if all(values.size for values in repeats):
            for percentile in requests.PERCENTILES:
                bounds = percentiles.bounds(repeats, percentile, confidence)
                value = float(np.percentile(np.concatenate(repeats), percentile))
                pooled[f"{name}_p{percentile}_ms"] = Estimate(value, *bounds)
    return pooled


_Limit = tuple[Standing, str]
"""What the repeats show of a limit, and in words why it is not kept."""


def _nothing_ended(rows: list[dict[str, Any]], idle: int) -> _Limit:
    """What a load asks for whatever its limits are: that requests end that begin while it is measured."""
    where = "" if idle == len(rows) else f" in {idle} of {len(rows)} repeats"
    return ("breaks", f"no request ended within {rows[0]['seconds']:.3g} s{where}") if idle else ("keeps", "")


def _errors(rows: list[dict[str, Any]], confidence: float) -> _Limit:
    """Whether more requests fail than may, over all repeats; more of them are where the whole exact interval of their
    share is above (Clopper and Pearson 1934). A share that is not above is taken as kept: that a hundred requests
    without an error are too few to exclude one in a hundred is not held against anybody."""
    failed = round(sum(row["errors"] for row in rows))
    count = round(sum(row["requests"] for row in rows)) + failed
    if failed <= requests.MOST_ERRORS * count:
        return "keeps", ""
    words = f"{failed} of {count} requests failed, over {100 * requests.MOST_ERRORS:g} %"
    low, _ = proportion_confint(failed, count, alpha=1 - confidence, method="beta")
    return ("breaks", words) if low > requests.MOST_ERRORS else ("not shown", f"{words}; so few do not show it")


def _saturation(times: int, repeats: int) -> _Limit:
    """Each repeat shows it with an error of its own; it is shown of the load where every one does, and there are as
    many as an interval needs."""
    if 2 * times <= repeats:
        return "keeps", ""
    words = f"more than the server can sustain in {times} of {repeats} repeats"
    return ("breaks" if times == repeats >= FEWEST else "not shown"), words


def _attainment(rows: list[dict[str, Any]], decision: Decision) -> _Limit:
    """Whether enough of the requests keep to all limits at once (Zhong et al. 2024, DistServe, section 2)."""
    kept = [row[SEEN].within(decision.constraints) for row in rows]
    within = [(int(good.sum()), len(good)) for good in kept]
    good, count = (sum(column) for column in zip(*within, strict=True))
    standing, (low, high) = _shared(within, decision.attainment, decision.confidence)
    words = f"{good} of {count} requests satisfy the limits ([{100 * low:.3g}, {100 * high:.3g}] %)"
    return standing, f"{words}: {100 * decision.attainment:g} % must"


def _shared(within: list[tuple[int, int]], share: float, confidence: float) -> tuple[Standing, Bounds]:
    """Whether at least a share of the requests is shown to be within, or less, with the interval of that share."""
    low, high = share_bounds(within, confidence)
    return ("keeps" if low >= share else "breaks" if high < share else "not shown"), (low, high)


def _within_limits(
    rows: list[dict[str, Any]], figures: dict[str, Estimate], latencies: _Latencies, decision: Decision
) -> list[_Limit]:
    """The limits of 95th percentiles: that so large a share of the requests is within."""
    limits = []
    for name, limit in decision.constraints.latency_limits_ms.items():
        p95 = figures.get(f"{name}_p{LIMITED}_ms")
        if p95 is None:
            continue
        standing = _by_bounds(p95, limit)
        if latencies:
            within = [(int((values <= limit).sum()), len(values)) for values in latencies[name]]
            standing, _ = _shared(within, LIMITED / 100, decision.confidence)
        limits.append((standing, _in_words(LATENCY_WORDS[name], p95, limit, standing, rows, decision.confidence)))
    return limits


def _by_bounds(p95: Estimate, limit: float) -> Standing:
    """Of figures without their requests: a limit is kept where the whole interval over repeats is within."""
    if p95.low is None or p95.high is None:
        return "not shown"
    return "keeps" if p95.high <= limit else "breaks" if p95.low > limit else "not shown"


def _in_words(
    name: str, p95: Estimate, limit: float, standing: Standing, rows: list[dict[str, Any]], confidence: float
) -> str:
    """Why a limit is not kept."""
    measured, ended = f"{name} p95 is {p95.mean:.4g}", round(sum(row["requests"] for row in rows))
    if standing == "breaks":
        return f"{measured} ms, over the limit of {limit:g} ms"
    if ended < (needed := percentiles.fewest(LIMITED, confidence)):
        return f"{measured} ms in {ended} requests (at least {needed} are needed): limit of {limit:g} ms"
    if p95.low is None or p95.high is None:
        return f"{measured} ms; the repeats are too few or too different to bound it: limit of {limit:g} ms"
    return f"{measured} [{p95.low:.4g}, {p95.high:.4g}] ms, on both sides of the limit of {limit:g} ms"


def capacity(measured: Sequence[Point]) -> Capacity:
    """The heaviest point that is shown to keep to the limits together with all lighter ones; void points are left out.

    Points that keep to them again behind one that does not are named: the answer is not monotone, and
    a search that happened to look only there would have been wrong.
    """
    unit = measured[-1].unit
    valid = (point for point in measured if point.unit == unit and not point.void)
    grid = sorted(valid, key=lambda point: point.asked)
    kept = [point.usable for point in grid]
    lasting = kept.index(False) if False in kept else len(kept)
    return Capacity(
        unit=unit,
        asked=grid[lasting - 1].asked if lasting else None,
        violating=tuple(point.asked for point in grid if point.standing == "breaks"),
        kept_again=tuple(point.asked for point, good in list(zip(grid, kept, strict=True))[lasting:] if good),
        not_shown=tuple(point.asked for point in grid if point.standing == "not shown"),
    )
