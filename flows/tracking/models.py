"""A variant's checkpoint as a LoggedModel of MLflow.

Its bytes are written once where that can be had. Where MLflow keeps artifacts in a folder of this machine:
- A checkpoint that lies in the store is linked into that folder, file by file. `msf clean` takes one name away,
  deleting the model in MLflow the other, and what has the other name is whole. It is one file, so neither side may
  write to it any more: MLflow's own `log_model_artifacts` writes into files that are there, and a changed one would
  only show when its digest is compared, at the next deployment.
- A base model that lies in a folder of the user's, or in the hub's cache, is referred to: what is edited there
  would change under MLflow's name, and the right to write is not ours to take. MLflow then has CHECKPOINT_FILE alone,
  with the folder and every file's digest.
- What cannot be linked (another file system, another user's files) is copied.
A server of MLflow's with a store of its own gets all of it, and so does any MLflow whose records lie under an address.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from actors.files.digests import Digests
from flows.runtime.context import Run
from flows.runtime.outcome import Outcome
from flows.store import links
from flows.tracking.client import FINGERPRINT

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

CHECKPOINT_FILE = "checkpoint.json"
"""The one artifact of a model that is referred to."""
FOLDER = "msf.folder"
"""Tag of a model that is referred to: where its files lie."""


def log_model(
    run: Run, client: "MlflowClient", experiment_id: str, child: str, outcome: Outcome, parameters: dict[str, str]
) -> str:
    """Make a variant's checkpoint a model of its run's, and say by what id."""
    import mlflow

    model = mlflow.initialize_logged_model(
        name=outcome.name.replace(".", "_"),  # MLflow takes no dots in a model name
        source_run_id=child,
        params=parameters,
        tags={FINGERPRINT: outcome.plan.checkpoint.fingerprint},
        model_type="checkpoint",
        experiment_id=experiment_id,
    )
    _keep(run, client, model, outcome)
    mlflow.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def _keep(run: Run, client: "MlflowClient", model: "LoggedModel", outcome: Outcome) -> None:
    """Give a model its files, or say where they lie."""
    artifacts = local_folder(model.artifact_location) if run.store.is_shared else None
    record = outcome.checkpoint
    if artifacts and record and (elsewhere := record.result.folder):
        _refer(client, model, elsewhere, record.result.files)
        return
    with outcome.checkpoint_on(None) as folder:
        if artifacts is None or not _linked(folder, artifacts):
            client.log_model_artifacts(model.model_id, str(folder))


def local_folder(location: str) -> Path | None:
    """The folder of this machine that MLflow keeps a model's artifacts in, by their location; None where a server
    does."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    repository = get_artifact_repository(location)
    return Path(repository.artifact_dir) if isinstance(repository, LocalArtifactRepository) else None


def _linked(folder: Path, artifacts: Path) -> bool:
    """Link a checkpoint's files; False, and nothing is left, where that cannot be."""
    try:
        links.link_files(folder, artifacts)
    except OSError:
        shutil.rmtree(artifacts, ignore_errors=True)
        return False
    return True


def _refer(client: "MlflowClient", model: "LoggedModel", folder: str, files: Digests) -> None:
    """Tell of a folder, and of what was in it when the base model was prepared."""
    client.set_logged_model_tags(model.model_id, {FOLDER: folder})
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / CHECKPOINT_FILE
        file.write_text(json.dumps({"folder": folder, "files": files}, indent=1, sort_keys=True))
        client.log_model_artifact(model.model_id, str(file))
