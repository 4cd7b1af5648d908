"""A checkpoint that a variant names by a version of MLflow's Model Registry; with a real MLflow."""

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import mlflow
import pytest
from tests_support import checkpoint as artifact
from tests_support import write_model

from configs.base import UserError
from configs.experiment import Experiment
from configs.loading import load_experiment
from configs.model import RegisteredModel
from flows.cli import BAD_INPUT, DONE, main
from flows.store import checkpoints
from flows.store.records import Store
from flows.store.steps import Step
from flows.tracking import client as tracking
from flows.tracking import downloads, models, registered

pytestmark = pytest.mark.usefixtures("_one_migration", "hardware", "built")
NAME = "team.model"


@pytest.fixture(name="asked")
def _asked(experiment_file: Any) -> Any:
    """Writes an experiment with one variant of that URI."""

    def write(uri: str = f"models:/{NAME}/1", **sections: Any) -> Path:
        variant = {"name": "theirs", "checkpoint": {"kind": "mlflow", "uri": uri}}
        path: Path = experiment_file(schemes=[], variants=[variant], **sections)
        return path

    return write


def register(experiment: Experiment, folder: Path) -> str:
    """One more version, whose files are those of a folder; the version's number."""
    experiment.storage.local.mkdir(parents=True, exist_ok=True)
    client, experiment_id = tracking.connect(experiment)
    model = mlflow.initialize_logged_model(name="v", experiment_id=experiment_id)
    client.log_model_artifacts(model.model_id, str(folder))
    mlflow.finalize_logged_model(model.model_id, "READY")
    return str(mlflow.register_model(f"models:/{model.model_id}", NAME).version)


def found(path: Path, *, anew: bool = True) -> RegisteredModel:
    (variant,) = registered.resolved(load_experiment(path), anew=anew).variants
    assert isinstance(variant.checkpoint, RegisteredModel)
    return variant.checkpoint


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as error:
        found(path)
    said = str(error.value)
    assert said.startswith("variants.0.checkpoint.uri: ") and "\n" not in said
    return said


def test_version_is_the_folder_that_mlflow_has(asked: Any, tmp_path: Path) -> None:
    path, folder = asked(), write_model(tmp_path / "model")
    register(load_experiment(path), folder)
    checkpoint = found(path)
    assert checkpoint.label == f"models:/{NAME}/1"
    assert checkpoints.files(checkpoint.path) == checkpoints.files(folder)
    assert checkpoint.path.is_relative_to(tmp_path / "store" / "mlartifacts"), "not copied once more"


def test_plan_names_the_version_and_digests_its_files(asked: Any, tmp_path: Path, capfd: Any) -> None:
    path = asked(f"models:/{NAME}@champion", model={"kind": "path", "path": str(write_model(tmp_path / "model"))})
    register(load_experiment(path), tmp_path / "model")
    mlflow.MlflowClient().set_registered_model_alias(NAME, "champion", "1")
    assert main(["plan", str(path)]) == DONE, capfd.readouterr().err
    assert f"models:/{NAME}/1" in capfd.readouterr().out


def test_alias_stays_what_a_run_found_until_the_next_one(asked: Any, tmp_path: Path) -> None:
    path = asked(f"models:/{NAME}@champion")
    for inputs in (64, 128):
        register(load_experiment(path), write_model(tmp_path / f"model-{inputs}", inputs))
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(NAME, "champion", "1")
    assert found(path).uri == f"models:/{NAME}/1"
    client.set_registered_model_alias(NAME, "champion", "2")
    assert found(path, anew=False).uri == f"models:/{NAME}/1", "what was measured"
    assert found(path).uri == f"models:/{NAME}/2"


def test_model_that_refers_to_a_folder_is_that_folder_while_it_is_unchanged(asked: Any, tmp_path: Path) -> None:
    path, folder, told = asked(), write_model(tmp_path / "model"), tmp_path / "told"
    told.mkdir()
    content = {"folder": str(folder), "files": checkpoints.files(folder)}
    (told / models.CHECKPOINT_FILE).write_text(json.dumps(content))
    register(load_experiment(path), told)
    assert found(path).path == folder
    (folder / "tokenizer.json").write_text('{"changed": true}')
    assert "is not a whole checkpoint" in refusal(path)
    shutil.rmtree(folder)
    assert f"it refers to {folder}, which is no folder on this machine" in refusal(path)


def test_base_model_may_be_a_version(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    path: Path = experiment_file(model={"kind": "mlflow", "uri": f"models:/{NAME}@base"})
    register(load_experiment(path), write_model(tmp_path / "model"))
    mlflow.MlflowClient().set_registered_model_alias(NAME, "base", "1")
    base = registered.resolved(load_experiment(path), anew=True).model
    assert isinstance(base, RegisteredModel) and base.uri == f"models:/{NAME}/1"
    assert main(["plan", str(path)]) == DONE, capfd.readouterr().err
    assert f"models:/{NAME}/1" in capfd.readouterr().out


def test_base_model_that_is_no_fit_is_refused_by_its_field(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    path: Path = experiment_file(model={"kind": "mlflow", "uri": f"models:/{NAME}/1"})
    assert main(["plan", str(path)]) == BAD_INPUT
    assert capfd.readouterr().err.startswith("error: model.uri: there is no MLflow database")
    folder = write_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))
    register(load_experiment(path), folder)
    capfd.readouterr()
    assert main(["plan", str(path)]) == BAD_INPUT
    err = capfd.readouterr().err
    assert err.startswith("error: model.uri: ") and "is quantized already (quantization_config)" in err


def test_fetched_files_go_when_no_experiment_needs_them(
    asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(registered, "local_folder", lambda location: None)
    path, store = asked(f"models:/{NAME}@champion"), tmp_path / "store"
    clean = ["clean", "--store", str(store), "--remove"]
    (store / "records").mkdir(parents=True)
    for inputs in (64, 128):
        register(load_experiment(path), write_model(tmp_path / f"model-{inputs}", inputs))
    mlflow.MlflowClient().set_registered_model_alias(NAME, "champion", "1")
    first = found(path).path
    mlflow.MlflowClient().set_registered_model_alias(NAME, "champion", "2")
    second = found(path).path
    killed = store / "registered" / ".killed"
    killed.mkdir()
    assert main(clean) == DONE
    assert first.is_dir() and second.is_dir() and killed.is_dir(), "a run may be about to use them"
    for file in (*(store / "registered").rglob("*"), store / "registered"):
        os.utime(file, (0, 0))
    capfd.readouterr()
    assert main(clean[:-1]) == DONE
    assert f"registered/{first.name}" in capfd.readouterr().out and first.is_dir()
    assert main(clean) == DONE
    assert not first.exists() and not killed.exists() and second.is_dir()
    for unreadable in ("[1]", '{"models:/a/1": {"folder": 5}}', "{"):
        (store / "experiments/tiny/registered.json").write_text(unreadable)
        assert main(clean) == BAD_INPUT
        assert second.is_dir(), "what it has found cannot be read"


def test_fetched_files_that_a_record_is_about_stay(asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered, "local_folder", lambda location: None)
    path = asked()
    register(load_experiment(path), write_model(tmp_path / "model"))
    checkpoint, experiment = found(path), load_experiment(path)
    store, step = Store.of(experiment.storage), Step("prepare", "theirs", {})
    with store.writing(step) as draft:
        draft.result = artifact(folder=str(checkpoint.path))
    store.refer("another", [step])
    shutil.rmtree(tmp_path / "store/experiments/tiny")
    for file in checkpoint.path.parent.rglob("*"):
        os.utime(file, (0, 0))
    assert not downloads.unneeded(experiment.storage, store, frozenset())
    store.refer("another", [])
    assert len(downloads.unneeded(experiment.storage, store, frozenset())) == 1
    assert not downloads.unneeded(experiment.storage, store, {step.fingerprint}), "planned"


def test_files_of_a_server_are_fetched_once(asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered, "local_folder", lambda location: None)
    path, folder = asked(), write_model(tmp_path / "model")
    register(load_experiment(path), folder)
    checkpoint = found(path)
    assert checkpoint.path.parent == tmp_path / "store" / "registered"
    assert checkpoints.files(checkpoint.path) == checkpoints.files(folder)
    assert [file.name for file in checkpoint.path.parent.iterdir()] == [checkpoint.path.name], "nothing half done"
    before = os.stat(checkpoint.path / "model.safetensors")
    assert found(path) == checkpoint
    assert os.stat(checkpoint.path / "model.safetensors") == before


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("models:/none/1", "MLflow has no registered model 'none'"),
        ("models:/none@champion", "MLflow has no registered model 'none'"),
        (f"models:/{NAME}/7", "has no version '7'; versions: 1; aliases: good"),
        (f"models:/{NAME}@zz", "has no alias 'zz'; versions: 1; aliases: good"),
    ],
)
def test_version_that_is_not_there_is_refused_with_those_that_are(
    asked: Any, tmp_path: Path, uri: str, words: str
) -> None:
    path = asked(uri)
    register(load_experiment(path), write_model(tmp_path / "model"))
    mlflow.MlflowClient().set_registered_model_alias(NAME, "good", "1")
    assert words in refusal(path)


@pytest.mark.parametrize("name", ["MLmodel", "model.pkl"])
def test_model_that_is_no_checkpoint_is_refused_by_its_files(asked: Any, tmp_path: Path, name: str) -> None:
    path, folder = asked(), tmp_path / "other"
    folder.mkdir()
    (folder / name).write_text("{}")
    register(load_experiment(path), folder)
    assert f"is no checkpoint (config.json and safetensors weights), but has {name}" in refusal(path)


def test_checkpoint_that_is_cut_short_is_refused(asked: Any, tmp_path: Path) -> None:
    path, folder = asked(), write_model(tmp_path / "model")
    with (folder / "model.safetensors").open("r+b") as weights:
        weights.truncate(100)
    register(load_experiment(path), folder)
    assert "is not a whole checkpoint" in refusal(path)


def test_mlflow_that_is_not_there_is_refused_in_one_line(asked: Any, tmp_path: Path, capfd: Any) -> None:
    assert main(["plan", str(asked())]) == BAD_INPUT
    err = capfd.readouterr().err
    assert err.startswith("error: variants.0.checkpoint.uri: there is no MLflow database") and err.count("\n") == 1
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        said = refusal(asked(tracking={"uri": address}))
    assert "tracking.uri: the MLflow server" in said and "is out of reach" in said


def test_mlflow_that_fails_is_refused_without_its_address(
    asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = asked()
    register(load_experiment(path), write_model(tmp_path / "model"))

    def fail(*_: Any) -> None:
        raise ConnectionError("http://user:secret@host refused")

    monkeypatch.setattr(mlflow.MlflowClient, "get_model_version", fail)
    said = refusal(path)
    assert "(ConnectionError); check tracking.uri and MLflow's credentials" in said and "secret" not in said


@pytest.mark.parametrize("uri", ["models:/m", "models:/m/latest", "runs:/1/m", "models:/a/b/1", "models:/m@"])
def test_uri_that_names_no_version_is_refused(asked: Any, uri: str, capfd: Any) -> None:
    assert main(["plan", str(asked(uri))]) == BAD_INPUT
    assert "variants.0.checkpoint" in capfd.readouterr().err


def test_experiment_without_such_a_variant_asks_nobody(experiment_file: Any) -> None:
    experiment = load_experiment(experiment_file())
    assert registered.resolved(experiment, anew=True) is experiment
