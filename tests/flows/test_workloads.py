"""Several kinds of traffic in one experiment: measured in one stay on a slot, each with an answer of its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest
from pydantic import TypeAdapter

from configs.base import UserError
from configs.hardware import Hardware
from configs.load import PRESETS
from configs.loading import load_experiment
from flows import cluster
from flows.analysis.judgement import Judgement
from flows.cli import DONE, GATE_SHUT, main

SHORT = {"kind": "concurrent", "streams": [1, 2], "prompt_tokens": 8, "output_tokens": 8, "duration_s": 1}
LONG = {**SHORT, "prompt_tokens": 200}
SEARCH = {"space": [{"kind": "fp8-dynamic", "ignore": [["a"], ["b"]]}], "search": "optuna", "samples": 1}
SIZE = {"objective": "size"}
TWO: dict[str, Any] = {"load": None, "workloads": {"chat": SHORT, "rag": LONG}}


def schemes(*names: str) -> list[dict[str, Any]]:
    return [{"kind": "fp8-dynamic", "name": name, "ignore": [name]} for name in names]


def decision(path: Path) -> Any:
    return json.loads((path.parent / "store/experiments/tiny/decision.json").read_text())


def records(path: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in (path.parent / "store/records").glob("*/*/record.json")}


@pytest.mark.usefixtures("fake_engines")
def test_every_workload_has_the_answer_that_it_would_have_alone(experiment_file: Any, capfd: Any) -> None:
    path = experiment_file(schemes=schemes("even", "long"), **TWO)
    assert main(["run", str(path), "--gate"]) == DONE
    found = decision(path)
    TypeAdapter(Judgement).validate_python(found)
    assert (found["answer"], found["recommended"]) == ("differs by workload", None)
    assert found["sentence"] == "The answer depends on the workload: chat: deploy even; rag: deploy long."
    assert {name: part["recommended"] for name, part in found["workloads"].items()} == {"chat": "even", "rag": "long"}
    assert "rag: Deploy long" in capfd.readouterr().out
    made = [p.parent.parent.name for p in records(path)]
    assert (made.count("evaluate"), made.count("benchmark")) == (4, 24), "accuracy once, the load for each workload"
    for name in ("base", "even", "long"):
        said = (path.parent / f"store/experiments/tiny/logs/events/{name}.jsonl").read_text()
        assert said.count("starting its server") == 3, "to be evaluated, to be loaded, and the baseline beside it"
        assert said.count("under load rag") == 4
    assert_tracked(path)
    before = records(path)
    assert main(["run", str(path)]) == DONE
    for name, load in (("chat", SHORT), ("rag", LONG)):
        experiment_file(schemes=schemes("even", "long"), load=load)
        assert main(["run", str(path)]) == DONE
        assert decision(path) == found["workloads"][name]
    assert records(path) == before, "nothing is done again"


def assert_tracked(path: Path) -> None:
    """Figures, fingerprints and tables have the workload in their names."""
    mlflow.set_tracking_uri(f"sqlite:///{path.parent / 'store/mlflow.db'}")
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name("tiny")
    runs = {run.info.run_name: run for run in client.search_runs([found.experiment_id])}
    figures, parameters = runs["long"].data.metrics, runs["long"].data.params
    assert figures["ttft_p95_ms.chat.streams_2"] == pytest.approx(5.0, rel=0.01)
    assert figures["output_tokens_per_second.rag.streams_1"] > 1.9 * figures["output_tokens_per_second.chat.streams_1"]
    assert {"fingerprint.benchmark.chat.1", "fingerprint.benchmark.rag.3"} <= set(parameters)
    table = client.load_table(found.experiment_id, "tables/workloads.json", [runs["tiny"].info.run_id])
    assert list(table["variant"]) == ["even", "long"]


@pytest.mark.usefixtures("fake_engines")
def test_race_stops_only_who_is_best_under_no_workload(experiment_file: Any) -> None:
    path = experiment_file(schemes=schemes("even", "long", "slow"), racing={"looks": [0.1, 0.4]}, **TWO)
    assert main(["run", str(path)]) == DONE
    found = decision(path)
    assert {name: part["recommended"] for name, part in found["workloads"].items()} == {"chat": "even", "rag": "long"}
    assert [(stop["name"], stop["rule"]) for stop in found["stopped"]] == [("slow", "not best")]
    assert all(f"{name}: " in found["stopped"][0]["reason"] for name in ("chat", "rag"))
    assert found["reasons"]["slow"].startswith("stopped after 20 documents: chat: ")


@pytest.mark.usefixtures("fake_engines")
def test_gate_is_shut_where_one_workload_keeps_the_base(experiment_file: Any) -> None:
    path = experiment_file(
        schemes=schemes("long"),
        load=None,
        workloads={"chat": {**SHORT, "repeats": 2}, "rag": LONG},
    )
    assert main(["run", str(path), "--gate"]) == GATE_SHUT
    assert {name: part["answer"] for name, part in decision(path)["workloads"].items()} == {
        "chat": "not enough evidence",
        "rag": "deploy",
    }
    assert "raise workloads.chat.repeats" in decision(path)["workloads"]["chat"]["sentence"]


@pytest.mark.usefixtures("fake_engines")
def test_colocation_is_tried_for_every_workload_and_only_what_is_missing_is_loaded_again(
    experiment_file: Any, hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = hardware.model_copy(update={"cores": 4})
    monkeypatch.setattr(cluster, "this_machine", lambda _experiment: wide)
    path = experiment_file(schemes=schemes("even"), quantizing={"cores": 1}, **TWO)
    assert main(["run", str(path)]) == DONE
    before, answer = records(path), decision(path)
    loaded = {p: json.loads(p.read_text()) for p in before if p.parent.parent.name == "benchmark"}
    colocated = [made["result"] for made in loaded.values() if made["result"]["company"]]
    assert {frozenset(result["company"]) for result in colocated} <= {frozenset({"base", "even"}), frozenset({"base"})}
    assert {round(result["interference"]["loss"], 3) for result in colocated} <= {0.0}
    asked = {p: made["identity"]["settings"] for p, made in loaded.items()}
    lost = next(p for p, s in asked.items() if (s["load"]["prompt_tokens"], s["repeat"]) == (200, 1))
    shutil.rmtree(lost.parent)
    assert main(["run", str(path)]) == DONE
    assert {p for p, at in records(path).items() if before.get(p) != at} == {lost}
    assert decision(path) == answer


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"load": None}, ["load: missing", "`workloads`"]),
        ({"workloads": {"chat": SHORT}}, ["load: set together with `workloads`", "remove one"]),
        ({"load": None, "workloads": {"Chat.": SHORT}}, ["workloads", "'Chat.'", "pattern"]),
        ({"load": None, "workloads": {"chat": {**SHORT, "preset": "chat"}}}, ["workloads.chat", "remove one"]),
        ({"load": None, "workloads": {"chat": {**SHORT, "durations": 1}}}, ["did you mean 'duration_s'"]),
        ({"load": None, "workloads": {"a": {**SHORT, "preset": "talk"}}}, ["'talk'", "'chat', 'rag', 'code'"]),
        ({"load": None, "workloads": {"a": {**SHORT, "prompt_tokens": 9999}}}, ["workloads.a: 9999", "max_model_len"]),
        ({**TWO, "schemes": [], "sweep": SEARCH}, ["workloads: optuna searches"]),
    ],
)
def test_mistake_about_workloads_gets_one_helpful_line(
    experiment_file: Any, sections: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        load_experiment(experiment_file(**sections))
    assert "\n" not in str(caught.value)
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_says_how_long_prompts_and_answers_are(experiment_file: Any, preset: str) -> None:
    asked = {"kind": "poisson", "rates": [1], "preset": preset}
    experiment = load_experiment(
        experiment_file(load=None, workloads={"one": asked}, serving={"max_model_len": 4096}, decision=SIZE)
    )
    load = experiment.loads["one"]
    assert (load.prompt_tokens, load.output_tokens) == PRESETS[preset]
    written = experiment.model_dump(mode="json")
    assert type(experiment).model_validate(written).loads == {"one": load.model_copy(update={"preset": None})}
