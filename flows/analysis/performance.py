"""What the repeats of a load say of a variant against the baseline. Pure functions; `flows.analysis.points` has what
they say of each point of the load by itself.

Variants are compared with the baseline at the same point of the common grid only, and within blocks
(`flows.stages.block`): repeat by repeat with the baseline that was benchmarked in turn with them
(`flows.analysis.ratios`), so what drifts on the machine meets both and leaves the ratio alone.
"""

from collections.abc import Sequence

import numpy as np

from configs.decision import Constraints, Decision, Objective
from flows.analysis import requests
from flows.analysis.energy import JOULES
from flows.analysis.judgement import FEW_REQUESTS, Gain, Point
from flows.analysis.points import BASE, Sweep, capacity, estimate, points, with_requests
from flows.analysis.ratios import FEWEST, SpreadOf, Starts, no_spread, ratio
from flows.store.records import Record
from flows.store.results import Benchmark

__all__ = ["FEWEST", "Sweep", "capacity", "estimate", "points"]

_COMPARED = {
    "output_tokens_per_second": 1,
    "goodput_per_second": 1,
    "concurrency_mean": -1,
    "ttft_p50_ms": -1,
    "ttft_p95_ms": -1,
    "tpot_p50_ms": -1,
    "tpot_p95_ms": -1,
    "request_latency_p95_ms": -1,
    JOULES: -1,
}
"""Figures that are compared with the baseline at the same load, and whether more (1) or less (-1) is better."""


def sweeps(records: Sequence[Record[Benchmark]], limits: Constraints) -> list[Sweep]:
    """The repeats of a variant, goodput under these limits among their figures."""
    return [with_requests(record, limits) for record in records]


def sweeps_of_base(records: Sequence[Record[Benchmark]], limits: Constraints) -> list[Sweep]:
    """The same of the baseline that was benchmarked in turn with a variant; none where none was."""
    return [with_requests(record, limits, BASE) for record in records if record.result.base]


def gains(
    variant: list[Sweep], base: list[Sweep], confidence: float, starts: Starts = (), spread: SpreadOf = no_spread
) -> tuple[Gain, ...]:
    """Every compared figure at every load that both were put under, where it counts in every repeat of both.

    Args:
        base: in turn with the variant.
        starts: as of `flows.analysis.ratios.ratio`.
        spread: of a figure at a point.
    """
    gains = []
    for index, point in enumerate(variant[0] if base else []):
        key = (point["unit"], point["asked"])
        matched = next((i for i, p in enumerate(base[0]) if (p["unit"], p["asked"]) == key), None)
        if matched is None or not (_counts(variant, index) and _counts(base, matched)):
            continue
        for figure, better in _COMPARED.items():
            ours, theirs = (_values(s, at, figure) for s, at in ((variant, index), (base, matched)))
            if len(ours) != len(variant) or len(theirs) != len(base):
                continue
            pairs = list(zip(ours, theirs, strict=True))
            if compared := ratio(pairs, better, confidence, starts, spread((index, matched), figure)):
                means = float(np.mean(theirs)), float(np.mean(ours))
                gains.append(Gain(point["asked"], point["unit"], figure, *means, compared))
    return tuple(gains)


def _counts(repeats: list[Sweep], index: int) -> bool:
    return all(requests.counts(sweep[index]) for sweep in repeats)


def _values(repeats: list[Sweep], index: int, figure: str) -> list[float]:
    return [sweep[index][figure] for sweep in repeats if figure in sweep[index]]


def objective(
    repeats: list[Sweep],
    measured: Sequence[Point],
    size_bytes: int,
    decision: Decision,
    price_per_hour: float | None = None,
) -> list[float] | None:
    """The objective's value in every repeat, at the one point of the load at which it is best on the mean (the best of
    every repeat would be better than any point is); None where no point lets it be measured.

    Args:
        price_per_hour: of one engine, for `cost`; None: `decision.price_per_hour`.
    """
    if decision.objective == "size":
        return [size_bytes / 1e9] * len(repeats)
    if by_grid(measured, decision.objective):
        grid = [point for point in measured if not point.void]
        return [capacity(grid).asked or 0.0] * len(repeats) if grid else None
    figure, better = compared_figure(decision)
    indices = [index for index in eligible(measured, decision) if _everywhere(repeats, index, figure)]
    if not indices:
        return None
    values = (_values(repeats, index, figure) for index in indices)
    best = max(values, key=lambda of: better * float(np.mean(of)))
    if decision.objective == "cost" and (price := price_per_hour or decision.price_per_hour):
        return [price_of_tokens(price, speed) for speed in best]
    return best


def compared_figure(decision: Decision) -> tuple[str, int]:
    """The figure of a point that the objective goes by, and whether more (1) or less (-1) of it is better."""
    match decision.objective:
        case "ttft" | "tpot" as latency:
            return f"{latency}_p95_ms", -1
        case "goodput":
            return "goodput_per_second", 1
        case "energy":
            return JOULES, -1
        case _:
            return "output_tokens_per_second", 1


def eligible(measured: Sequence[Point], decision: Decision) -> list[int]:
    """Indices of the points at which the objective may be taken: for latencies the lightest, if it has the requests
    that a 95th percentile needs; else those that are shown to keep to the limits."""
    sound = [index for index, point in enumerate(measured) if point.sound]
    if decision.objective in ("ttft", "tpot"):
        lightest = min(range(len(measured)), key=lambda index: measured[index].asked)
        return [index for index in sound if index == lightest and FEW_REQUESTS not in measured[index].labels]
    return [index for index in sound if measured[index].usable]


def by_grid(measured: Sequence[Point], objective: Objective) -> bool:
    """Whether an objective is a point of the load's grid: a capacity, or a goodput in rates."""
    return objective == "capacity" or (objective == "goodput" and measured[0].unit == "requests_per_second")


def _everywhere(repeats: list[Sweep], index: int, figure: str) -> bool:
    return all(figure in sweep[index] for sweep in repeats)


def price_of_tokens(per_hour: float, tokens_per_second: float) -> float:
    """Of a million output tokens, by what an hour of an engine costs: money, or GPUs."""
    return per_hour / (3600 * tokens_per_second) * 1e6
