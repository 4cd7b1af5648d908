"""Joules an output token: of a point, as an objective, in the report."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties.briefly import BRIEFLY
from tests_support import benchmark

from actors.artifacts import EngineReport, Window
from configs.decision import Decision
from flows.analysis import energy, leads, performance
from flows.analysis.energy import JOULES
from flows.analysis.judgement import Judged, Judgement
from flows.analysis.reasons import better, describe_objective, why_unusable
from flows.deploying.candidate import point_of
from flows.reporting import report, tables
from flows.store import results

ENERGY = Decision.model_validate({"objective": "energy"})


def row(streams: int, joules: float | None, speed: float = 100.0, **changes: Any) -> dict[str, Any]:
    """A point of one repeat."""
    counted = {"requests": 100, "errors": 0, "unfinished": 0, "seconds": 10.0}
    told = {} if joules is None else {"power_w": 100 + joules * speed, "idle_power_w": 100.0, JOULES: joules}
    return {"asked": streams, "unit": "streams", **counted, "output_tokens_per_second": speed, **told, **changes}


def judged(name: str, sweeps: list[list[dict[str, Any]]], base: list[list[dict[str, Any]]] | None = None) -> Judged:
    points = performance.points(sweeps, ENERGY)
    values = performance.objective(sweeps, points, 1, ENERGY)
    objective = performance.estimate(values, 0.95) if values else None
    gains = performance.gains(sweeps, base, 0.95) if base else ()
    return Judged(name, 1, points, None, gains, objective, None, None, (), None, None, (), {})


def test_idle_power_is_taken_off_and_stated() -> None:
    figures = energy.figures(Window(50.0, 60.0, None, energy_j=4000.0), 100.0, 1500.0)
    assert figures == {"power_w": 400.0, "idle_power_w": 100.0, JOULES: pytest.approx(0.2)}


@pytest.mark.parametrize(
    ("joules", "idle", "speed", "known"),
    [(None, 100.0, 5.0, set()), (4000.0, None, 5.0, set()), (4000.0, 100.0, 0.0, {"power_w", "idle_power_w"})],
)
def test_what_is_not_measured_is_no_figure(
    joules: float | None, idle: float | None, speed: float, known: set[str]
) -> None:
    assert set(energy.figures(Window(0.0, 10.0, None, energy_j=joules), idle, speed)) == known


# A counter of NVML's is in millijoules.
MEASURED_J = st.just(0.0) | st.floats(1e-3, 1e7)


@BRIEFLY
@given(joules=MEASURED_J, idle=st.floats(0, 1000), speed=st.floats(0.01, 1e5), seconds=st.floats(0.5, 1000))
def test_figure_is_positive_and_the_three_agree(joules: float, idle: float, speed: float, seconds: float) -> None:
    figures = energy.figures(Window(0.0, seconds, None, energy_j=joules), idle, speed)
    if JOULES in figures:
        assert figures[JOULES] > 0
        assert math.isclose(figures[JOULES] * speed + figures["idle_power_w"], figures["power_w"], rel_tol=1e-9)
    else:
        assert figures["power_w"] <= idle


def test_objective_is_the_fewest_joules_over_points_that_keep_the_limits() -> None:
    limited = Decision.model_validate({"objective": "energy", "constraints": {"max_ttft_p95_ms": 200}})
    values = ((1, 0.9, 100.0), (2, 0.5, 150.0), (4, 0.3, 400.0))
    sweep = [row(streams, joules, ttft_p95_ms=ttft) for streams, joules, ttft in values]
    points = performance.points([sweep] * 3, limited)
    assert performance.objective([sweep] * 3, points, 1, limited) == [0.5] * 3
    assert better(limited) == -1


def test_lead_is_by_joules_and_each_side_where_it_needs_least() -> None:
    base = [[row(1, 1.0), row(2, 0.8 + 0.001 * repeat)] for repeat in range(4)]
    ours = [[row(1, 0.4 + 0.001 * repeat), row(2, 0.6)] for repeat in range(4)]
    sides = [leads.Benchmarked(1, sweeps, performance.points(sweeps, ENERGY)) for sweeps in (ours, base)]
    found = leads.lead(*sides, ENERGY, 1)
    assert found is not None
    assert found.value == pytest.approx(2.0, rel=0.01)
    assert found.at == "1 client against 2 clients"
    assert leads.shown(found, ENERGY)


def test_repeat_without_energy_leaves_the_objective_unmeasured_and_says_why() -> None:
    variant = judged("v", [[row(1, 0.5)], [row(1, None)], [row(1, 0.5)]])
    assert variant.objective is None
    assert why_unusable(variant, ENERGY) == "not every repeat tells its energy"


def test_deployment_is_verified_where_the_fewest_joules_were_needed() -> None:
    variant = judged("v", [[row(1, 0.5, 50.0), row(2, 0.3, 80.0), row(4, 0.4, 120.0)]] * 3)
    assert point_of(variant, "energy").asked == 2
    assert point_of(variant, "throughput").asked == 4
    assert describe_objective(variant, ENERGY) == "energy (0.3 J an output token)"


def test_tables_have_a_column_where_somebody_tells() -> None:
    base, ours = [[row(1, 0.8), row(2, None)]] * 3, [[row(1, 0.4), row(2, None)]] * 3
    judgement = Judgement("deploy", "v", "", (judged("base", base), judged("v", ours, base)), (), {})
    column = tables.loads(judgement).columns["J/token [interval]"]
    assert column == ["0.8 [0.8, 0.8]", "", "0.4 [0.4, 0.4]", ""]
    same = tables.same_load(judgement)
    assert same is not None
    assert same.columns["J/token [interval]"] == ["2.00 [2.00, 2.00]", ""]
    assert report._energy(judgement)[0][1].endswith("no request: base 100 W, v 100 W")


def test_report_is_silent_where_nobody_tells() -> None:
    sweeps = [[row(1, None)]] * 3
    judgement = Judgement("deploy", "v", "", (judged("base", sweeps), judged("v", sweeps, sweeps)), (), {})
    assert not [
        header for table in tables.of_load(judgement, "", Decision()) for header in table.headers if "J" in header
    ]
    assert report._energy(judgement) == []


def test_record_keeps_what_an_engine_told_and_older_ones_can_be_read() -> None:
    report_ = EngineReport(seconds=1.0, processes=1, memory_bytes=1, gpus=("GPU-0",), idle_power_w=98.5)
    content = results.written("benchmark", benchmark([row(1, 0.5)], deployment=report_))
    read = results.read("benchmark", content)
    assert isinstance(read, results.Benchmark)
    assert (read.deployment, read.points[0][JOULES]) == (report_, 0.5)
    del content["deployment"]["gpus"], content["deployment"]["idle_power_w"]
    older = results.read("benchmark", content)
    assert isinstance(older, results.Benchmark)
    assert (older.deployment.gpus, older.deployment.idle_power_w) == (None, None)
