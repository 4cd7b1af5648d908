"""The Pareto front over accuracy, cost and latency, of operating points that are made up."""

from dataclasses import replace
from typing import Any

import numpy as np

from configs.decision import Decision
from flows.analysis.accuracy import paired
from flows.analysis.front import front
from flows.analysis.judgement import Difference, Estimate, Judged, Judgement, Point
from flows.reporting import plots, tables


def variant(name: str, *points: tuple[float, float, float], **settings: Any) -> Judged:
    """Points as clients, output tokens/s and request latency p95 in ms."""
    made = tuple(
        Point(clients, "streams", 3, {"output_tokens_per_second": _mean(speed)} | latency, (), ())
        for clients, speed, ms in points
        for latency in [{"request_latency_p95_ms": _mean(ms)} if ms else {}]
    )
    grounds: dict[str, Any] = {"capacity": None, "gains": (), "objective": None, "against_base": None, "slower": None}
    grounds |= {"differences": (), "pooled": None, "verdict": "pass", "broken_constraints": (), "evidence": {}}
    return Judged(name, 100, made, **grounds | settings)


def difference(lost: int, **settings: Any) -> Difference:
    """A task of 400 documents, so many of which a variant loses."""
    pairs = np.array([[1, 0]] * lost + [[1, 1]] * (400 - lost), dtype=float)
    return replace(paired("task", "acc", pairs, True, Decision()), **settings)


def _mean(value: float) -> Estimate:
    return Estimate(value, None, None)


def on_front(*variants: Judged) -> list[tuple[str, float]]:
    return [(point.variant, point.asked) for point in front(variants)]


def test_point_that_is_dearer_and_slower_is_left_out() -> None:
    base = variant("base", (1, 100.0, 500.0), (8, 400.0, 900.0))
    fast = variant("fast", (1, 150.0, 400.0), (8, 500.0, 950.0))
    assert on_front(base, fast) == [("base", 8), ("fast", 1), ("fast", 8)]


def test_accuracy_keeps_a_point_on_the_front() -> None:
    worse = variant("worse", (1, 200.0, 250.0), differences=(replace(difference(10), verdict="pass"),))
    assert on_front(variant("base", (1, 100.0, 500.0)), worse) == [("base", 1), ("worse", 1)]
    turned = replace(difference(0), higher_is_better=False, difference=0.2, verdict="fail")
    assert on_front(variant("base", (1, 100.0, 500.0)), variant("x", (1, 99.0, 500.0), differences=(turned,))) == [
        ("base", 1)
    ], "of an error rate less is better"


def test_cost_is_by_the_gpu_and_where_all_have_one_by_the_price() -> None:
    base, wide = variant("base", (1, 100.0, 500.0)), variant("wide", (1, 150.0, 400.0), gpus=2.0)
    costs = [point.cost for point in front([base, wide])]
    assert costs == [1e6 / 100 / 3600, 2e6 / 150 / 3600]
    priced = [replace(base, price_per_hour=3.6), replace(wide, price_per_hour=3.6)]
    assert [point.cost for point in front(priced)] == [3.6e6 / 150 / 3600], "at the same price the wide one is cheaper"
    judgement = Judgement("keep the base", None, "", tuple(priced), front(priced), {})
    table = tables.front(judgement)
    assert table is not None
    assert table.columns["price of a million output tokens"] == ["6.667"]
    assert plots.pareto(judgement).count("price of a million output tokens") == 1
    assert tables.variants(judgement, Decision()).columns["GPUs"] == ["1", "2"]


def test_point_that_is_not_sound_or_has_no_latency_is_none() -> None:
    saturated = variant("base", (1, 100.0, 500.0), (2, 100.0, 0.0))
    points = (replace(saturated.points[0], labels=("saturated",)), *saturated.points[1:])
    assert on_front(replace(saturated, points=points)) == []
