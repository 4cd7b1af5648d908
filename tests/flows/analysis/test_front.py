"""The Pareto front over accuracy, cost and latency, of operating points that are made up."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from configs.decision import Decision
from flows.analysis.accuracy import paired
from flows.analysis.front import front
from flows.analysis.judgement import Difference, Estimate, Gain, Judged, Judgement, Point, Ratio
from flows.reporting import plots, tables

SPEED, LATENCY = "output_tokens_per_second", "request_latency_p95_ms"
BASE = ((1.0, 100.0, 500.0), (8.0, 400.0, 900.0))
"""Clients, output tokens/s and request latency p95 in ms."""


def variant(name: str, *ratios: tuple[float, float], points: Any = BASE, **settings: Any) -> Judged:
    """With ratios of speed and latency to the baseline at each of its points; the baseline without."""
    made = tuple(
        Point(clients, "streams", 3, {SPEED: _mean(speed)} | ({LATENCY: _mean(ms)} if ms else {}), (), ())
        for clients, speed, ms in points
    )
    gains = tuple(
        Gain(point[0], "streams", figure, 1.0, 1.0, Ratio(value, None, None))
        for point, pair in zip(points, ratios, strict=False)
        for figure, value in zip((SPEED, LATENCY), pair, strict=True)
    )
    grounds: dict[str, Any] = {"capacity": None, "gains": gains, "objective": None, "against_base": None}
    grounds |= {"slower": None, "differences": (), "pooled": None, "verdict": "pass", "broken_constraints": ()}
    return Judged(name, 100, made, **grounds | {"evidence": {}} | settings)


def difference(lost: int, **settings: Any) -> Difference:
    """A task of 400 documents, so many of which a variant loses."""
    pairs = np.array([[1, 0]] * lost + [[1, 1]] * (400 - lost), dtype=float)
    return replace(paired("task", "acc", pairs, True, Decision()), **settings)


def _mean(value: float) -> Estimate:
    return Estimate(value, None, None)


def on_front(*variants: Judged) -> list[tuple[str, float]]:
    return [(point.variant, point.asked) for point in front(variants)]


def test_point_that_is_dearer_and_slower_is_left_out() -> None:
    slow_block = ((1.0, 15.0, 4000.0), (8.0, 50.0, 9500.0))
    fast = variant("fast", (1.5, 1.25), (1.25, 0.95), points=slow_block)
    assert on_front(variant("base"), fast) == [("base", 8), ("fast", 1), ("fast", 8)], "in turn with the baseline"
    chosen = next(point for point in front([variant("base"), fast]) if point.variant == "fast")
    assert (chosen.cost, chosen.latency_ms) == pytest.approx((1e6 / 540_000, 400.0))


def test_accuracy_keeps_a_point_on_the_front() -> None:
    """Of an error rate less is better."""
    base = variant("base", points=BASE[:1])
    worse = variant("worse", (2.0, 2.0), points=BASE[:1], differences=(replace(difference(10), verdict="pass"),))
    assert on_front(base, worse) == [("base", 1), ("worse", 1)]
    turned = replace(difference(0), higher_is_better=False, difference=0.2, verdict="fail")
    assert on_front(base, variant("x", (0.99, 1.0), points=BASE[:1], differences=(turned,))) == [("base", 1)]


def test_cost_is_by_the_gpu_and_where_all_have_one_by_the_price() -> None:
    base, wide = variant("base", points=BASE[:1]), variant("wide", (1.5, 1.25), points=BASE[:1], gpus=2.0)
    assert [point.cost for point in front([base, wide])] == pytest.approx([1e6 / 360_000, 2e6 / 540_000])
    priced = [replace(base, price_per_hour=3.6), replace(wide, price_per_hour=3.6)]
    assert [point.cost for point in front(priced)] == pytest.approx([1000 / 150]), (
        "at the same price the wide one is cheaper"
    )
    judgement = Judgement("keep the baseline", None, "", tuple(priced), front(priced), {})
    table = tables.front(judgement)
    assert table is not None
    assert table.columns["price of a million output tokens"] == ["6.667"]
    assert plots.pareto(judgement).count("price of a million output tokens") == 1
    assert tables.variants(judgement, Decision()).columns["GPUs"] == ["1", "2"]


def test_point_that_is_not_sound_or_was_not_compared_is_none() -> None:
    base = variant("base", points=((1.0, 100.0, 500.0), (2.0, 100.0, 0.0)))
    assert on_front(base, variant("alone")) == [("base", 1)], "no latency at 2 clients, and no ratio of the other"
    points = (replace(base.points[0], labels=("saturated",)), *base.points[1:])
    assert on_front(replace(base, points=points)) == []
