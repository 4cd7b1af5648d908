"""Points that count for nothing: the client was the limit, the engine compiled, or no request ended."""

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest

from configs.decision import Decision
from configs.loading import load_experiment
from flows.analysis import leads, performance, requests
from flows.analysis.decide import decide
from flows.analysis.judgement import Estimate, Judged, Judgement, Point
from flows.analysis.requests import Requests
from flows.cli import DONE, _state, main
from flows.deploying import candidate, verify
from flows.reporting import plots, tables

BUSY, COMPILED, IDLE = {"client_share": 0.95}, {"compiled": 1.0}, {"requests": 0, "ttft_p95_ms": None}
LIMITED = Decision.model_validate({"objective": "capacity", "constraints": {"max_ttft_p95_ms": 200}})


def row(clients: float, tokens: float = 50.0, **changes: Any) -> dict[str, Any]:
    """A point of one repeat; a figure that is None is left out."""
    figures = {"requests": 200, "errors": 0, "seconds": 8.0, "output_tokens_per_second": tokens, "ttft_p95_ms": 100.0}
    figures |= {"goodput_per_second": tokens / 10, "client_share": 0.1, "compiled": 0.0, **changes}
    return {"asked": clients, "unit": "streams", **{name: v for name, v in figures.items() if v is not None}}


def judged(name: str, points: tuple[Point, ...], **settings: Any) -> Judged:
    """A variant that passes and has nothing but its points."""
    capacity = performance.capacity(points)
    nothing = dict.fromkeys(("objective", "against_base", "slower", "pooled"))
    values: dict[str, Any] = {**nothing, "differences": (), "broken_constraints": (), "verdict": "pass", "evidence": {}}
    return Judged(name, 100, points, capacity, (), **{**values, **settings})


def point(*repeats: dict[str, Any]) -> Point:
    return performance.points([[one] for one in repeats], Decision())[0]


@pytest.mark.parametrize("open_loop", [True, False])
@pytest.mark.parametrize(("share", "labelled"), [(0.95, True), (0.4, False), (None, False)])
def test_client_that_can_do_no_more_marks_a_point(share: float | None, labelled: bool, open_loop: bool) -> None:
    request = {"status": "completed", "due_s": 1.0, "sent_s": 1.0, "first_token_s": 1.1, "last_token_s": 2.0}
    rows = [{**request, "ended_s": 2.0, "prompt_tokens": 4, "output_tokens": 5}] * 30
    figures = requests.figures(Requests.of(rows, 10.0, open_loop=open_loop), client_share=share)
    assert requests.labels(figures, open_loop=open_loop) == (["client at its limit"] if labelled else [])
    assert ("client_share" in figures) == (share is not None)


def test_compilation_marks_a_point_where_somebody_looked() -> None:
    nothing = Requests.of([], 10.0, open_loop=False)
    marks = {flag: requests.figures(nothing, compiled=flag) for flag in (True, False, None)}
    assert {flag: requests.labels(seen, open_loop=False) for flag, seen in marks.items()} == {
        True: ["compiled"],
        False: [],
        None: [],
    }
    assert "compiled" not in marks[None]


@pytest.mark.parametrize(("changes", "label"), [(BUSY, "client at its limit"), (COMPILED, "compiled")])
def test_one_repeat_of_three_makes_a_point_void(changes: dict[str, Any], label: str) -> None:
    seen = point(row(1), row(1, **changes), row(1))
    assert (seen.labels, seen.void, seen.counts, seen.usable) == ((label,), True, False, False)
    assert point(row(1), row(1), row(1)).usable


def test_point_at_which_nothing_ends_breaks_its_limits() -> None:
    seen = point(*[row(1, **IDLE)] * 3)
    assert seen.violations == ("no request ended within 8 s",)
    assert (seen.idle, seen.labels, seen.counts, seen.usable, seen.void) == (3, (), False, False, False)


def test_repeats_of_which_some_end_nothing_are_told_and_not_averaged() -> None:
    seen = point(row(1), row(1, **IDLE), row(1))
    assert seen.violations == ("no request ended within 8 s in 1 of 3 repeats",)
    assert "ttft_p95_ms" not in seen.figures and not seen.usable


@pytest.mark.parametrize("changes", [BUSY, COMPILED, IDLE])
@pytest.mark.parametrize(
    ("objective", "expected"), [("throughput", 50.0), ("goodput", 5.0), ("capacity", 1.0), ("cost", 2e6 / 3600 / 50)]
)
def test_point_that_does_not_count_is_in_no_objective(objective: str, expected: float, changes: dict[str, Any]) -> None:
    settings = {"objective": objective, "price_per_hour": 2.0, "constraints": {"max_ttft_p95_ms": 200}}
    sweeps = [[row(1), row(2, 90.0)]] * 2 + [[row(1), row(2, 90.0, **changes)]]
    decision = Decision.model_validate(settings)
    points = performance.points(sweeps, decision)
    assert performance.objective(sweeps, points, 1, decision) == [pytest.approx(expected)] * 3


@pytest.mark.parametrize("changes", [BUSY, COMPILED, IDLE])
@pytest.mark.parametrize("objective", ["ttft", "throughput", "goodput"])
def test_objective_is_not_measured_where_its_only_point_does_not_count(objective: str, changes: dict[str, Any]) -> None:
    decision = Decision.model_validate({"objective": objective, "constraints": {"max_ttft_p95_ms": 200}})
    sweeps = [[row(1, **changes)]]
    assert performance.objective(sweeps, performance.points(sweeps, decision), 1, decision) is None


@pytest.mark.parametrize("changes", [BUSY, COMPILED, IDLE])
def test_gain_needs_a_point_that_counts_on_both_sides(changes: dict[str, Any]) -> None:
    plain, marred = [[row(1), row(2)]] * 2, [[row(1), row(2)], [row(1), row(2, **changes)]]
    for pair in ((plain, marred), (marred, plain)):
        assert {gain.asked for gain in performance.gains(*pair, 0.95)} == {1}
    assert {gain.asked for gain in performance.gains(plain, plain, 0.95)} == {1, 2}


def test_void_point_is_left_out_of_the_capacity_and_an_idle_one_ends_it() -> None:
    void = performance.points([[row(1), row(2, **BUSY), row(4)]] * 3, LIMITED)
    assert performance.capacity(void).asked == 4
    idle = performance.points([[row(1), row(2, **IDLE), row(4)]] * 3, LIMITED)
    assert (performance.capacity(idle).asked, performance.capacity(idle).violating) == (1, (2,))


def test_capacity_of_void_points_alone_is_not_measured() -> None:
    sweeps = [[row(1, **BUSY)]]
    points = performance.points(sweeps, LIMITED)
    assert performance.objective(sweeps, points, 1, LIMITED) is None
    table = tables.variants(Judgement("keep the baseline", None, "", (judged("v", points),), (), {}), LIMITED)
    assert table.rows[0][table.headers.index("within the limits\nup to")] == "not measured"


def test_variant_is_compared_at_loads_that_count_for_the_base_too() -> None:
    sweeps = {"ours": [row(1, 60.0), row(2, 99.0)], "base": [row(1, 50.0), row(2, 90.0, **BUSY)]}
    points = {name: performance.points([sweep], Decision()) for name, sweep in sweeps.items()}
    ours, base = (leads.Benchmarked(100, [sweeps[name]], points[name]) for name in sweeps)
    lead = leads.lead(ours, base, Decision(), 1)
    assert lead is not None and (lead.value, lead.at) == (pytest.approx(60 / 50), "1 client")


def test_base_without_a_load_that_counts_gives_way_to_nobody() -> None:
    base = judged("base", (point(row(1, **BUSY)),), verdict=None)
    fast = judged("fast", (point(row(1)),), objective=Estimate(50.0, None, None))
    decided = decide([base, fast], Decision(), {})
    assert (decided.answer, decided.recommended) == ("not enough evidence", None)
    assert "every load of the baseline is void (client at its limit)" in decided.sentence


def test_notes_and_figures_show_what_does_not_count() -> None:
    sweep = [row(1), row(2, **BUSY), row(4, **IDLE)]
    variant = judged("v", performance.points([sweep], Decision()))
    judgement = Judgement("keep the baseline", None, "", (variant,), (), {})
    notes = [cells[-1] for cells in tables.loads(judgement).rows]
    assert notes == ["", "client at its limit", "no request ended within 8 s"]
    hollow = plots.load(judgement, Decision().constraints).count("fill: #ffffff; stroke: #000000")
    assert hollow == 3, "two of the throughputs, one of the latencies"


def test_figures_are_drawn_where_nothing_counts() -> None:
    variant = judged("v", performance.points([[row(1, **IDLE)]], Decision()))
    judgement = Judgement("keep the baseline", None, "", (variant,), (), {})
    assert "<svg" in plots.load(judgement, Decision().constraints)
    assert plots.pareto(judgement) == ""


@pytest.mark.usefixtures("fake_engines")
def test_variant_of_which_no_request_ends_is_judged_and_loses(experiment_file: Any, capfd: Any) -> None:
    path = experiment_file(schemes=[{"kind": "fp8-dynamic"}, {"kind": "fp8-dynamic", "name": "idle", "ignore": ["x"]}])
    assert main(["run", str(path), "--set", "decision.objective=size"]) == DONE
    decided = json.loads((path.parent / "store/experiments/tiny/decision.json").read_text())
    assert decided["recommended"] == "base"
    assert decided["reasons"]["idle"] == "no request ended within 10 s at the lightest load"
    assert "no request ended within 10 s" in capfd.readouterr().out
    mlflow.set_tracking_uri(f"sqlite:///{path.parent / 'store/mlflow.db'}")
    runs = mlflow.search_runs(experiment_names=["tiny"]).set_index("tags.mlflow.runName")
    assert runs.loc["idle", "metrics.requests.streams_1"] == 0
    assert runs["metrics.output_tokens_per_second.streams_1"].notna().to_dict() == {
        "tiny": False,
        "base": True,
        "fp8-dynamic": True,
        "idle": False,
    }
    idle = candidate.choose(_state(load_experiment(path)), "idle")
    look = verify._Look("http://127.0.0.1:1", idle)
    assert look.questions()[-1][:2] == ("load", "as fast as benchmarked")
    passed, why = look._load()
    assert (passed, why) == (None, "skipped: the benchmark has no usable point (no request ended within 10 s)")


def test_point_of_the_load_is_one_that_counts() -> None:
    variant = judged("v", performance.points([[row(1, **BUSY), row(2, 60.0), row(4, 90.0, **IDLE)]], Decision()))
    assert {candidate.point_of(variant, objective).asked for objective in ("ttft", "throughput")} == {2}


def test_records_are_kept_where_no_request_ended(tmp_path: Path) -> None:
    unfinished = {"point": 0, "status": "unfinished", "due_s": 1.0, "sent_s": 1.0, "ended_s": 8.0}
    nothing = dict.fromkeys(("first_token_s", "last_token_s", "prompt_tokens", "output_tokens"))
    (tmp_path / "requests.jsonl").write_text(json.dumps({**unfinished, **nothing}) + "\n")
    one, none = requests.read(tmp_path, [8.0, 8.0], open_loop=False)
    assert requests.figures(one)["unfinished"] == 1
    assert requests.figures(none)["requests"] == 0
    assert requests.goodput(none, LIMITED.constraints) == 0.0
