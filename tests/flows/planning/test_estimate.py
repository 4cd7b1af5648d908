"""How long a plan may take: by earlier records, by assumptions that are told, and with the slots of a run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests_support import benchmark, checkpoint, scored

from actors.artifacts import EngineReport, Evaluation
from actors.placement.slots import DeviceSlots
from configs.hardware import Hardware
from configs.loading import load_experiment
from configs.storage import Storage
from flows.planning import plan as planning
from flows.planning.estimate import estimate
from flows.planning.history import History
from flows.planning.simulation import Stay, Way, play
from flows.store.records import Store
from flows.store.results import R
from flows.store.steps import Step

TWO_SEATS = DeviceSlots(((0,), (1,)), ((1,), (0,)), together=False)
LOADED = Stay(10.0, ((0, 1),), {0: 3.0, 1: 3.0})


def played(*ways: Way, slots: DeviceSlots = TWO_SEATS) -> float:
    return play(ways, slots, hosts=1, room=3).seconds


def test_two_variants_work_side_by_side_and_are_loaded_one_after_the_other() -> None:
    assert played(Way("base", (LOADED,)), Way("a", (LOADED,))) == 10 + 4 * 3


def test_variant_that_is_compressed_first_holds_up_the_load_of_the_one_beside_it() -> None:
    assert played(Way("base", (LOADED,)), Way("a", (Stay(20.0), LOADED))) == 20 + 10 + 4 * 3


def test_colocation_halves_the_load_and_adds_two_probes() -> None:
    together = DeviceSlots(TWO_SEATS.engines, TWO_SEATS.clients, together=True)
    assert played(Way("base", (LOADED,)), Way("a", (LOADED,)), slots=together) == 10 + 2 * 3 + 2 * 3


@pytest.fixture
def made(experiment_file: Any, hardware: Hardware) -> Callable[..., planning.Plan]:
    return lambda **sections: planning.make(load_experiment(experiment_file(**sections)), hardware)


def test_checkpoint_of_a_named_baseline_is_made_before_anybody_begins(made: Callable[..., planning.Plan]) -> None:
    plan, assumed = made(baseline="fp8-dynamic"), History([], "a CPU", "cpu", 1e9)
    quantize = plan.baseline.checkpoint
    whole, rest = estimate(plan, lambda step: True, assumed), estimate(plan, lambda step: step != quantize, assumed)
    seconds = pytest.approx(assumed.seconds(quantize).seconds)
    assert whole.seconds - rest.seconds == seconds
    assert whole.variants["fp8-dynamic"] - rest.variants["fp8-dynamic"] == seconds


def record(store: Store, step: Step[R], result: R, seconds: float, hardware: str = "a CPU") -> None:
    with store.writing(step) as draft:
        draft.result, draft.where = result, {"hardware": hardware}
    file = Path(store.root) / "records" / step.kind / step.fingerprint / "record.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "seconds": seconds}))


def history(store: Store) -> History:
    return History(store.all(), "a CPU", "cpu", 1e9)


def test_evaluation_is_scaled_by_its_documents(made: Callable[..., planning.Plan], tmp_path: Path) -> None:
    store = Store.of(Storage(root=tmp_path / "store"))
    half = made(accuracy={"tasks": [{"name": "everyday_science", "limit": 100}]})
    record(store, half.base.evaluations[0], Evaluation({"everyday_science": scored("acc", documents=100)}), 50.0)
    whole = made(accuracy={"tasks": [{"name": "everyday_science", "limit": 200}]})
    assert history(store).seconds(whole.base.evaluations[0]).seconds == 100.0


def test_load_takes_its_configured_seconds_and_what_points_took_beside_them(
    made: Callable[..., planning.Plan], tmp_path: Path
) -> None:
    store = Store.of(Storage(root=tmp_path / "store"))
    load = {"kind": "concurrent", "streams": [1, 2], "prompt_tokens": 8, "output_tokens": 8, "warmup_s": 1}
    short, long = made(load={**load, "duration_s": 4}), made(load={**load, "duration_s": 40})
    up = EngineReport(seconds=33.0, processes=1, memory_bytes=1)
    record(store, short.base.benchmarks[0], benchmark([], deployment=up), 2 * (4 + 1) + 2 * 1.5)
    step = long.base.benchmarks[0]
    assert history(store).seconds(step).seconds == 2 * (40 + 1) + 2 * 1.5
    assert history(store).start(step).seconds == 33.0
    assert history(store).warming(step).seconds == 2 * 2 * (3 + 1.8)
    record(store, short.base.benchmarks[1], benchmark([], deployment=replace(up, warming_s=21.0)), 13.0)
    assert history(store).warming(step).seconds == 21.0


def test_record_of_other_hardware_tells_nothing(made: Callable[..., planning.Plan], tmp_path: Path) -> None:
    store, step = Store.of(Storage(root=tmp_path / "store")), made().base.checkpoint
    record(store, step, checkpoint(), 7.0, hardware="another CPU")
    assert "assumed 60 s" in history(store).seconds(step).assumed
    record(Store.of(Storage(root=tmp_path / "other")), step, checkpoint(), 7.0)
    assert history(Store.of(Storage(root=tmp_path / "other"))).seconds(step).seconds == 7.0


def test_model_of_unknown_size_is_assumed_to_fit_the_machine_and_that_is_told(
    made: Callable[..., planning.Plan],
) -> None:
    step = made().base.evaluations[0]
    unknown = {accelerator: History([], "a machine", accelerator, None) for accelerator in ("cpu", "cuda")}
    known = {"cpu": History([], "a machine", "cpu", 0.25e9), "cuda": History([], "a machine", "cuda", 8e9)}
    for accelerator, history_of in unknown.items():
        assert history_of.seconds(step).seconds == known[accelerator].seconds(step).seconds
        assert "without a record or the model's size: " in history_of.seconds(step).assumed
        assert "size" not in known[accelerator].seconds(step).assumed


def test_engine_ends_before_the_next_one_starts(made: Callable[..., planning.Plan]) -> None:
    plan, assumed = made(), History([], "a CPU", "cpu", 1e9)
    evaluation = plan.variants[-1].evaluations[0]
    ahead = estimate(plan, lambda step: step == evaluation, assumed)
    start, end = assumed.start(plan.variants[-1].benchmarks[0]), assumed.end
    assert end.seconds > 0 and end.assumed in ahead.assumed
    assert ahead.variants["fp8-dynamic"] == start.seconds + end.seconds + assumed.seconds(evaluation).seconds


def test_plan_without_records_names_every_assumption_and_a_finished_one_takes_no_time(
    made: Callable[..., planning.Plan], tmp_path: Path
) -> None:
    plan, nothing = made(), history(Store.of(Storage(root=tmp_path / "store")))
    ahead = estimate(plan, lambda step: True, nothing)
    assert ahead.seconds > 60
    kinds = (
        "preparing a base model",
        "quantizing",
        "evaluating",
        "start of an engine",
        "overhead of each point",
        "start and end of Ray",
    )
    for kind in kinds:
        assert any(line.startswith(kind) and "assumed" in line for line in ahead.assumed), kind
    assert estimate(plan, lambda step: False, nothing).seconds == 0


def test_race_takes_less_where_all_but_one_lose_its_first_heat(made: Callable[..., planning.Plan]) -> None:
    nothing = History([], "a CPU", "cpu", 1e9)
    schemes = [{"kind": "fp8-dynamic", "name": name, "ignore": [name]} for name in "abcd"]
    accuracy = {"tasks": [{"name": "everyday_science", "limit": 200}]}
    plain, race = (
        estimate(made(schemes=schemes, accuracy=accuracy, **more), lambda step: True, nothing)
        for more in ({}, {"racing": {}})
    )
    assert plain.least_seconds == plain.seconds
    assert race.least_seconds < plain.seconds < race.seconds, "whoever goes on is served once more"
