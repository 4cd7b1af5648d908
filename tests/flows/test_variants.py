"""Checkpoints served in ways, on fake engines: made, shared, measured, judged, and deployed with their own settings."""

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from tests_support import write_model

from configs.loading import load_experiment
from flows.cli import DONE, FAILED, main
from flows.deploying import candidate, card
from flows.experiment import planned
from flows.runtime.context import Run
from flows.runtime.progress import Progress
from flows.store.records import Store
from flows.tracking import client as tracking

pytestmark = pytest.mark.usefixtures("fake_engines")

NGRAM = {"kind": "ngram", "num_speculative_tokens": 3}


def decision(path: Path) -> Any:
    return json.loads((path.parent / "store/experiments/tiny/decision.json").read_text())


def records(path: Path, kind: str) -> list[Any]:
    return [json.loads(file.read_text()) for file in (path.parent / "store/records").glob(f"{kind}/*/record.json")]


def published(folder: Path, **config: Any) -> dict[str, Any]:
    """A checkpoint that somebody made elsewhere, as the experiment names it."""
    write_model(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "fake", **config}))
    return {"kind": "path", "path": str(folder)}


def test_ways_to_serve_are_compared_and_share_what_they_have_in_common(
    experiment_file: Any, tmp_path: Path, capfd: Any
) -> None:
    variants = [
        {"name": "batched", "serving": {"engine_args": {"max_num_batched_tokens": 64}}},
        {"name": "guessing", "serving": {"speculative": NGRAM}},
        {"name": "fp8-guessing", "scheme": {"kind": "fp8-dynamic"}, "serving": {"speculative": NGRAM}},
        {"name": "published", "checkpoint": published(tmp_path / "published", quantization_config={"bits": 4})},
    ]
    path = experiment_file(variants=variants)
    assert main(["run", str(path)]) == DONE
    names = {judged["name"] for judged in decision(path)["judged"]}
    assert names == {"base", "fp8-dynamic", "batched", "guessing", "fp8-guessing", "published"}
    assert len(records(path, "quantize")) == 1, "of two variants with one scheme"
    assert len(records(path, "prepare")) == 2, "the base's and the published one"
    # the base with its control, FP8, FP8 and the base with guesses, the published one; batches change no answer
    assert len(records(path, "evaluate")) == 2 + 1 + 2 + 1
    report = (path.parent / "store/experiments/tiny/report.md").read_text()
    assert "Accuracy of batched: the baseline's own records, as only batching differs" in report
    assert "Accuracy of guessing against base, on the same documents" in report
    assert 'guessing: fake==1, served with speculative {"kind": "ngram"' in report
    logs = path.parent / "store/experiments/tiny/logs/events"
    done = [json.loads(line)["what"] for name in ("base", "batched") for line in (logs / f"{name}.jsonl").open()]
    assert done.count("evaluating ...") == 1, "by whichever of the two was ready first"
    assert done.count("evaluating, as control ...") == 1


def test_named_baseline_stays_unless_a_variant_is_better(experiment_file: Any, capfd: Any) -> None:
    """On fake engines all that is compressed is as fast, and faster than the base model."""
    variants = [{"name": "smaller", "scheme": {"kind": "fp8-dynamic"}, "serving": {"max_num_seqs": 2}}]
    path = experiment_file(variants=variants, baseline="fp8-dynamic")
    assert main(["run", str(path)]) == DONE
    decided = decision(path)
    assert decided["judged"][0]["name"] == decided["baseline"] == "fp8-dynamic"
    assert decided["recommended"] == "fp8-dynamic" and decided["answer"] == "keep the baseline"
    assert decided["sentence"].startswith("Keep the baseline: every other variant is shown to fail or to gain at most")
    leads = {judged["name"]: judged["against_base"] for judged in decided["judged"]}
    assert leads["fp8-dynamic"] is None
    assert leads["base"]["value"] < 0.9 < leads["smaller"]["value"]
    report = (path.parent / "store/experiments/tiny/report.md").read_text()
    assert "Accuracy of base against fp8-dynamic, on the same documents" in report
    assert "fp8-dynamic (control)" in report
    benchmarked = {record["variant"]: record for record in records(path, "benchmark")}
    assert benchmarked["base"]["result"]["base"]["deployment"] != benchmarked["base"]["result"]["deployment"]
    capfd.readouterr()
    assert main(["deploy", str(path), "--print"]) == DONE


def test_baseline_without_a_checkpoint_ends_the_comparison(experiment_file: Any, capfd: Any) -> None:
    broken = {"kind": "int8-w8a8", "algorithm": "rtn", "smoothquant": None, "ignore": ["raise"], "name": "broken"}
    path = experiment_file(schemes=[broken, {"kind": "fp8-dynamic"}], baseline="broken", retries=0)
    assert main(["run", str(path)]) == FAILED
    reasons = decision(path)["reasons"]
    assert reasons["fp8-dynamic"].startswith("the baseline is missing: ")
    assert decision(path)["sentence"].startswith("Nothing can be compared: the baseline was not measured in full (")


def test_checkpoint_of_another_model_fails_alone_unless_it_is_asked_for(experiment_file: Any, tmp_path: Path) -> None:
    other = {"name": "other", "checkpoint": published(tmp_path / "other", vocab_size=7)}
    path = experiment_file(variants=[other])
    assert main(["run", str(path)]) == FAILED
    assert "differs from the base in its vocabulary; set variants.0.another_model" in decision(path)["reasons"]["other"]
    assert decision(path)["recommended"] == "fp8-dynamic"
    assert main(["run", str(path), "--set", "variants.0.another_model=true"]) == DONE
    assert "other" in {judged["name"] for judged in decision(path)["judged"]}


def test_what_is_deployed_has_its_own_settings(experiment_file: Any, capfd: Any) -> None:
    path = experiment_file(schemes=[], variants=[{"name": "guessing", "serving": {"speculative": NGRAM}}])
    assert main(["run", str(path)]) == DONE
    assert decision(path)["recommended"] == "guessing"
    capfd.readouterr()
    assert main(["deploy", str(path), "--print"]) == DONE
    shown = capfd.readouterr().out
    assert "--speculative-config=" in shown and "ngram" in shown


def test_energy_is_measured_where_an_engine_s_gpus_tell_it(experiment_file: Any) -> None:
    path = experiment_file(name="metered")
    assert main(["run", str(path)]) == DONE
    (first, *_) = records(path, "benchmark")
    engine, point = first["result"]["deployment"], first["result"]["points"][0]
    assert engine["gpus"] == ["GPU-0"]
    assert engine["idle_power_w"] == pytest.approx(100, rel=0.1)
    assert point["power_w"] == pytest.approx(300, rel=0.1)
    assert point["joules_per_output_token"] == pytest.approx(200 / point["output_tokens_per_second"], rel=0.2)
    report = (path.parent / "store/experiments/metered/report.md").read_text()
    assert "J/token [interval]" in report
    assert "without their power while the engine is up and has no request: base 10" in report


def test_version_in_mlflow_is_measured_and_stays_that_version(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    """An alias that moves after the run changes neither the report nor what would be deployed."""
    variant = {"name": "theirs", "checkpoint": {"kind": "mlflow", "uri": "models:/served@champion"}}
    model = {"kind": "mlflow", "uri": "models:/served@base"}
    path = experiment_file(model=model, schemes=[], variants=[variant])
    (tmp_path / "store").mkdir()
    client, experiment_id = tracking.connect(load_experiment(path))
    for number in ("1", "2", "3"):
        model = mlflow.initialize_logged_model(name="v", experiment_id=experiment_id)
        quantized = {} if number == "3" else {"quantization_config": {"bits": 4}}
        published(tmp_path / number, revision=number, **quantized)
        client.log_model_artifacts(model.model_id, str(tmp_path / number))
        mlflow.register_model(f"models:/{model.model_id}", "served")
    client.set_registered_model_alias("served", "champion", "1")
    client.set_registered_model_alias("served", "base", "3")
    assert main(["run", str(path)]) == DONE
    assert decision(path)["recommended"] == "theirs"
    report = (path.parent / "store/experiments/tiny/report.md").read_text()
    assert "tiny: models:/served/3" in report and "theirs: models:/served/1" in report
    (theirs,) = [r for r in records(path, "prepare") if r["variant"] == "theirs"]
    client.set_registered_model_alias("served", "champion", "2")
    capfd.readouterr()
    assert main(["deploy", str(path), "--print"]) == DONE, capfd.readouterr().err
    assert theirs["result"]["folder"] in capfd.readouterr().out


def test_card_tells_the_licence_of_what_is_served(experiment_file: Any, tmp_path: Path) -> None:
    source = published(tmp_path / "theirs", quantization_config={"bits": 4})
    (tmp_path / "theirs/README.md").write_text("---\nlicense: other\nlicense_name: theirs-1.0\n---\n")
    path = experiment_file(schemes=[], variants=[{"name": "published", "checkpoint": source}])
    assert main(["run", str(path)]) == DONE
    run = Run.of(planned(load_experiment(path)), Store.of(load_experiment(path).storage), Progress(), tmp_path)
    chosen = candidate.choose(run, None)
    assert "- licence of theirs, by its card: other (theirs-1.0)" in card.published(chosen, "a/b")
    head = yaml.safe_load(card.published(chosen, "a/b").split("---")[1])
    assert (head["license"], head["license_name"]) == ("other", "theirs-1.0")
