"""A checkpoint in MLflow: one file under two names, a folder that is referred to, or a copy; with a real MLflow."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from tests_support import write_model

from actors.artifacts import Made
from configs.hardware import Hardware
from configs.loading import load_experiment
from flows.planning import plan as planning
from flows.planning.plan import Plan
from flows.runtime.context import Run
from flows.runtime.progress import Progress
from flows.store import checkpoints, clean, links
from flows.store.checkpoints import CHECKPOINT
from flows.store.records import Store
from flows.tracking import client as tracking
from flows.tracking import models

pytestmark = pytest.mark.usefixtures("_one_migration")
WEIGHTS = "model.safetensors"


@pytest.fixture
def made(experiment_file: Any, hardware: Hardware) -> Callable[..., Plan]:
    return lambda **sections: planning.make(load_experiment(experiment_file(**sections)), hardware)


def run_of(plan: Plan, folder: Path) -> Run:
    """A run whose variant has a checkpoint, beside its record."""
    store = Store.of(plan.experiment.storage)
    with store.writing(plan.variants[1].checkpoint) as draft:
        checkpoint = write_model(draft.folder / CHECKPOINT)
        draft.result = checkpoints.described(checkpoint, Made(reference=(), seconds={}), compressed=False)
    return Run.of(plan, store, Progress(), folder)


def logged(run: Run, variant: str = "fp8-dynamic") -> str:
    """The id of a variant's model, logged into a run of MLflow's."""
    client, experiment_id = tracking.connect(run.plan.experiment)
    child = client.create_run(experiment_id).info.run_id
    return models.log_model(run, client, experiment_id, child, run.outcomes[variant], {"variant": variant})


def in_store(run: Run) -> Path:
    record = run.outcomes["fp8-dynamic"].checkpoint
    assert record
    with record.files.held() as folder:
        return folder / CHECKPOINT


def downloaded(model_id: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(f"models:/{model_id}"))


def test_checkpoint_in_the_store_is_one_file_under_two_names(made: Any, tmp_path: Path) -> None:
    run = run_of(made(), tmp_path)
    model_id = logged(run)
    shown, kept = downloaded(model_id), in_store(run)
    names, listed = checkpoints.names(kept), mlflow.artifacts.list_artifacts(f"models:/{model_id}")
    assert sorted(file.path for file in listed) == names
    assert os.path.samefile(shown / WEIGHTS, kept / WEIGHTS)
    assert {(kept / name).stat().st_mode & 0o222 for name in names} == {0}, "nobody writes to it"
    copy = mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=str(tmp_path / "copy"))
    assert not os.path.samefile(Path(copy) / WEIGHTS, kept / WEIGHTS)


def test_model_is_whole_when_its_record_is_cleaned_away_and_the_other_way_round(made: Any, tmp_path: Path) -> None:
    run = run_of(made(), tmp_path)
    shown, kept = downloaded(logged(run)), in_store(run)
    again = downloaded(logged(run))
    shutil.rmtree(again)
    checkpoints.verify(kept, compressed=False)
    (leftover,) = clean.unreferred(run.store, frozenset())
    assert leftover.linked_bytes == sum((kept / name).stat().st_size for name in checkpoints.names(kept))
    assert leftover.remove()
    assert not kept.exists()
    checkpoints.verify(shown, compressed=False)


def test_base_in_a_folder_of_the_users_is_referred_to_and_left_as_it_is(made: Any, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    plan = made(model={"kind": "path", "path": str(folder)})
    store = Store.of(plan.experiment.storage)
    with store.writing(plan.base.checkpoint) as draft:
        made_there = Made(reference=(), seconds={}, folder=str(folder))
        draft.result = checkpoints.described(folder, made_there, compressed=False)
    before = {name: (folder / name).stat() for name in checkpoints.names(folder)}
    model_id = logged(Run.of(plan, store, Progress(), tmp_path), "base")
    assert [file.name for file in downloaded(model_id).iterdir()] == [models.CHECKPOINT_FILE]
    content = json.loads((downloaded(model_id) / models.CHECKPOINT_FILE).read_text())
    assert content == {"folder": str(folder), "files": checkpoints.files(folder)}
    assert mlflow.get_logged_model(model_id).tags[models.FOLDER] == str(folder)
    assert {name: (folder / name).stat() for name in before} == before, "neither linked nor locked"


def test_checkpoint_that_cannot_be_linked_is_copied_whole(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, calls = os.link, []

    def refuse_the_second(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) > 1:
            raise OSError(18, "Invalid cross-device link")
        link(source, target)

    monkeypatch.setattr(links.os, "link", refuse_the_second)
    run = run_of(made(), tmp_path)
    shown, kept = downloaded(logged(run)), in_store(run)
    assert checkpoints.files(shown) == checkpoints.files(kept)
    assert not [name for name in checkpoints.names(kept) if os.path.samefile(shown / name, kept / name)]


def test_model_of_a_server_with_its_own_artifacts_is_uploaded(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "local_folder", lambda _: None)
    run = run_of(made(), tmp_path)
    shown, kept = downloaded(logged(run)), in_store(run)
    assert checkpoints.files(shown) == checkpoints.files(kept)
    assert not os.path.samefile(shown / WEIGHTS, kept / WEIGHTS)


@pytest.mark.parametrize(
    ("location", "local"),
    [
        ("mlflow-artifacts:/1/models/m-1/artifacts", None),
        ("/data/models/m-1/artifacts", "/data/models/m-1/artifacts"),
        ("file:///data/models/m-1/artifacts", "/data/models/m-1/artifacts"),
    ],
)
def test_artifacts_of_a_model_are_local_where_mlflow_has_them_in_a_folder(location: str, local: str | None) -> None:
    mlflow.set_tracking_uri("http://127.0.0.1:1")  # never reached
    assert models.local_folder(location) == (Path(local) if local else None)
