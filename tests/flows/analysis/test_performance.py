"""The arithmetic of a load test, against figures that are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests_support import benchmark

from configs.decision import Constraints, Decision
from flows.analysis import performance, requests
from flows.analysis.judgement import Judged, Judgement
from flows.analysis.ratios import ratio
from flows.analysis.requests import Requests
from flows.reporting import tables
from flows.store.folder import FolderFiles
from flows.store.records import Record
from flows.store.results import Benchmark


def request(due: float, first: float, last: float, **changes: Any) -> dict[str, Any]:
    row = {"status": "completed", "due_s": due, "sent_s": due, "first_token_s": first, "last_token_s": last}
    return {**row, "ended_s": last, "prompt_tokens": 4, "output_tokens": 5, **changes}


def figures(*rows: dict[str, Any], open_loop: bool = False, window_s: float = 10.0) -> dict[str, float]:
    return requests.figures(Requests.of(list(rows), window_s, open_loop=open_loop))


def test_latencies_of_a_request_follow_their_definitions() -> None:
    """TPOT as MLPerf Inference and vLLM have it: the first token is no part of it. With it this request had 208."""
    values = figures(request(1.0, 1.24, 2.04))
    assert values["ttft_p50_ms"] == pytest.approx(240)
    assert values["tpot_p50_ms"] == pytest.approx(200)
    assert values["request_latency_p50_ms"] == pytest.approx(1040)
    assert not [name for name in values if name.startswith("itl")]


def test_open_loop_counts_from_when_a_request_was_due() -> None:
    late = request(1.0, 1.5, 2.0, sent_s=1.4)
    assert figures(late, open_loop=True)["ttft_p50_ms"] == pytest.approx(500)
    assert figures(late, open_loop=True)["client_delay_p95_ms"] == pytest.approx(400)
    assert figures(late, open_loop=False)["ttft_p50_ms"] == pytest.approx(100)


def test_warm_up_counts_for_throughput_only_where_its_tokens_come_inside() -> None:
    values = figures(request(-3.0, -2.0, 2.0, output_tokens=5), request(1.0, 2.0, 3.0))
    assert values["requests"] == 1
    assert values["output_tokens_per_second"] == pytest.approx((4 * 2 / 4 + 5) / 10)


def test_request_without_a_token_counts_as_unfinished_work() -> None:
    cut = request(9.0, 9.5, 9.5, status="unfinished", first_token_s=None, last_token_s=None, output_tokens=None)
    values = figures(request(1.0, 1.1, 2.0), cut)
    assert (values["requests"], values["unfinished"]) == (1, 1)
    assert values["concurrency_mean"] == pytest.approx(0.15)


def test_rate_that_the_server_cannot_take_is_saturated() -> None:
    kept = [request(t, t + 0.1, t + 0.2) for t in np.arange(0, 10, 0.25)]
    queueing = [request(t, 2 * t + 0.1, 2 * t + 0.2) for t in np.arange(0, 5, 0.25)]
    given_up = {"status": "unfinished", "first_token_s": None, "last_token_s": None, "output_tokens": None}
    queueing += [request(t, 0, 0, **given_up, ended_s=10.0) for t in np.arange(5, 10, 0.25)]
    assert "saturated" not in requests.labels(figures(*kept, open_loop=True), open_loop=True)
    assert "saturated" in requests.labels(figures(*queueing, open_loop=True), open_loop=True)


def test_poisson_arrivals_that_a_server_keeps_up_with_are_not_saturated() -> None:
    random, saturated = np.random.default_rng(5), 0
    for _ in range(200):
        due = np.cumsum(random.exponential(0.25, 60)) - 5
        free, rows = -5.0, []
        for moment in due[due < 10]:
            free = max(free, moment) + random.exponential(0.1)
            rows.append(request(moment, free, free, status="completed" if free <= 10 else "unfinished"))
        saturated += "saturated" in requests.labels(figures(*rows, open_loop=True), open_loop=True)
    assert saturated <= 5


def test_late_client_and_errors_mark_a_point() -> None:
    late = [request(t, t + 0.5, t + 1, sent_s=t + 0.4) for t in range(9)]
    assert "late client" in requests.labels(figures(*late, open_loop=True), open_loop=True)
    failed = [request(1.0, 1.1, 1.2), request(2.0, 2.1, 2.2, status="errored")]
    assert "errors" in requests.labels(figures(*failed), open_loop=False)


def test_goodput_counts_requests_that_keep_every_limit() -> None:
    slow, fast = request(1.0, 3.0, 4.0), request(1.0, 1.1, 1.2)
    point = Requests.of([slow, fast, fast], 10.0, open_loop=False)
    assert requests.goodput(point, Constraints(max_ttft_p95_ms=500)) == pytest.approx(0.2)
    assert requests.goodput(point, Constraints(max_ttft_p95_ms=5000)) == pytest.approx(0.3)


def test_interval_over_repeats_covers_at_its_rate() -> None:
    random, covered = np.random.default_rng(1), 0
    for _ in range(400):
        estimate = performance.estimate(random.normal(50, 3, 3).tolist(), 0.95)
        assert estimate.low is not None and estimate.high is not None
        covered += estimate.low <= 50 <= estimate.high
    assert 370 <= covered <= 391


@pytest.mark.parametrize("repeats", [1, 2])
def test_fewer_than_three_repeats_have_no_interval(repeats: int) -> None:
    estimate = ratio([(110.0, 100.0)] * repeats, 1, 0.95)
    assert estimate is not None and estimate.low is None
    assert performance.estimate([3.0] * repeats, 0.95).low is None


def published(*rows: dict[str, Any]) -> Record[Benchmark]:
    """A benchmark's record that holds only figures, as a paper or a blog would give them."""
    identity = {"settings": {}}
    return Record(FolderFiles(Path("nowhere")), "benchmark", "v", "f", identity, benchmark(rows), 0.0, 0.0, {})


def row(load: float, unit: str = "requests_per_second", **figures: float) -> dict[str, Any]:
    return {"asked": load, "unit": unit, "requests": 200, "errors": 0, **figures}


RED_HAT = {
    "base": published(row(1.7, concurrency_mean=34, tpot_p50_ms=39.6, ttft_p95_ms=162.4)),
    "int8": published(
        row(1, "streams", ttft_p95_ms=445.7),
        row(1.7, concurrency_mean=19, tpot_p50_ms=22.7, ttft_p95_ms=118.1),
        row(2.3, ttft_p95_ms=959.9),
        row(2.5, tpot_p50_ms=34.5, ttft_p95_ms=136.0),
    ),
}
"""Red Hat's notebook workflow as published: Llama-3.1-8B-Instruct on an L40S, 1024/512 tokens, base against
INT8, limit of 200 ms."""


def test_published_case_is_compared_at_the_rate_that_both_have() -> None:
    base, int8 = ([list(record.result.points)] for record in RED_HAT.values())
    gains = {gain.figure: gain for gain in performance.gains(int8, base, 0.95)}
    assert {gain.asked for gain in gains.values()} == {1.7}
    assert gains["tpot_p50_ms"].ratio.value == pytest.approx(39.6 / 22.7)
    assert gains["ttft_p95_ms"].ratio.value == pytest.approx(162.4 / 118.1)
    assert gains["concurrency_mean"].ratio.value == pytest.approx(34 / 19)


def test_published_case_breaks_its_own_limit_and_is_not_monotone() -> None:
    decision = Decision.model_validate({"objective": "capacity", "constraints": {"max_ttft_p95_ms": 200}})
    points = performance.points([list(RED_HAT["int8"].result.points)] * 3, decision)
    violating = {(p.asked, p.unit): p.violations for p in points if p.violations}
    assert set(violating) == {(1, "streams"), (2.3, "requests_per_second")}
    assert "959.9 ms, over the limit of 200 ms" in violating[2.3, "requests_per_second"][0]
    capacity = performance.capacity(points)
    assert (capacity.asked, capacity.violating, capacity.kept_again) == (1.7, (2.3,), (2.5,))


@pytest.mark.parametrize(
    ("latencies", "words"),
    [
        ((100, 150, 190), "4 clients\nor more"),
        ((100, 150, 400), "2 clients,\nnot at 4"),
        ((300, 350, 400), "no load,\nnot at 1"),
        ((100, 300, 150), "1 client,\nnot at 2, again at 4"),
    ],
)
def test_capacity_lies_between_two_points_that_are_named(latencies: tuple[float, ...], words: str) -> None:
    decision = Decision.model_validate({"objective": "capacity", "constraints": {"max_ttft_p95_ms": 200}})
    loads = zip((1, 2, 4), latencies, strict=True)
    sweep = [row(a, "streams", output_tokens_per_second=50.0, ttft_p95_ms=ttft) for a, ttft in loads]
    points = performance.points([sweep] * 3, decision)
    judged = Judged("v", 1, points, performance.capacity(points), (), None, None, None, (), None, None, (), {})
    table = tables.variants(Judgement("keep the baseline", None, "", (judged,), (), {}), decision)
    assert table.rows[0][table.headers.index("within the limits\nup to")] == words


@pytest.mark.parametrize(
    ("objective", "expected"),
    [("throughput", 90.0), ("cost", 2.0 / (3600 * 90.0) * 1e6), ("capacity", 2.0), ("ttft", 100.0), ("size", 0.5)],
)
def test_objective_is_taken_over_points_that_keep_the_limits(objective: str, expected: float) -> None:
    decision = Decision.model_validate(
        {"objective": objective, "price_per_hour": 2.0, "constraints": {"max_ttft_p95_ms": 200}}
    )
    speeds = ((1, 50.0, 100.0), (2, 90.0, 150.0), (4, 120.0, 400.0))
    sweep = [row(a, "streams", output_tokens_per_second=v, ttft_p95_ms=t) for a, v, t in speeds]
    points = performance.points([sweep] * 3, decision)
    assert performance.objective([sweep] * 3, points, 500_000_000, decision) == [pytest.approx(expected)] * 3


def test_objective_that_no_point_allows_is_not_measured() -> None:
    decision = Decision.model_validate({"constraints": {"max_ttft_p95_ms": 1}})
    sweep = [row(1, "streams", output_tokens_per_second=5.0, ttft_p95_ms=100.0)]
    assert performance.objective([sweep], performance.points([sweep], decision), 1, decision) is None


def test_label_of_a_single_repeat_does_not_mark_the_point() -> None:
    sweeps = [[row(1, client_delay_p95_ms=delay)] for delay in (0, 50, 0)]
    assert performance.points(sweeps, Decision())[0].labels == ()
    assert performance.points([*sweeps[:2], sweeps[1]], Decision())[0].labels == ("late client",)


@pytest.mark.parametrize(
    ("errors", "standing"),
    [((0, 0, 0), "keeps"), ((1, 2, 3), "keeps"), ((0, 3, 4), "not shown"), ((0, 50, 0), "breaks")],
)
def test_errors_of_all_repeats_together_are_a_limit(errors: tuple[int, ...], standing: str) -> None:
    (point,) = performance.points([[row(1, errors=count)] for count in errors], Decision())
    assert (point.standing, point.sound) == (standing, standing == "keeps")
    assert (point.labels == ("errors",)) == (standing != "keeps")


@pytest.mark.parametrize(
    ("ttft", "standing"),
    [
        ((150, 151, 152), "keeps"),
        ((195, 204, 202), "not shown"),
        ((204, 193, 202), "not shown"),
        ((250, 251, 252), "breaks"),
        ((150,), "not shown"),
        ((250, 250), "not shown"),
    ],
)
def test_limit_has_three_states_by_the_interval_of_its_latency(ttft: tuple[float, ...], standing: str) -> None:
    decision = Decision.model_validate({"constraints": {"max_ttft_p95_ms": 200}})
    (point,) = performance.points([[row(1, ttft_p95_ms=value)] for value in ttft], decision)
    assert point.standing == standing
    counts = {"keeps": (0, 0), "not shown": (0, 1), "breaks": (1, 0)}[standing]
    assert (len(point.violations), len(point.unsure)) == counts


@pytest.mark.parametrize(
    ("marks", "standing"),
    [((1, 1, 1), "breaks"), ((1, 1, 0), "not shown"), ((1, 0, 0), "keeps"), ((1, 1), "not shown")],
)
def test_saturation_is_shown_where_every_repeat_has_it(marks: tuple[float, ...], standing: str) -> None:
    (point,) = performance.points([[row(1, saturated=mark)] for mark in marks], Decision())
    assert point.standing == standing


def test_objective_of_a_plateau_is_that_of_one_point() -> None:
    speeds = [(90.0, 110.0), (110.0, 90.0), (100.0, 101.0)]
    sweeps = [[row(a, "streams", output_tokens_per_second=v) for a, v in zip((1, 2), s, strict=True)] for s in speeds]
    points = performance.points(sweeps, Decision())
    assert performance.objective(sweeps, points, 1, Decision()) == [110.0, 90.0, 101.0]
