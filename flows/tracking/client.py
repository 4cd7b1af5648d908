"""The way to MLflow, and what the store remembers of what was written there."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from configs.base import UserError
from configs.experiment import Experiment
from flows.planning import mlflow_address
from flows.runtime.context import Run
from flows.store.records import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient

FINGERPRINT = "msf.fingerprint"
"""Tag of a model and of its registered version: the fingerprint of its checkpoint's record."""
_MIRRORED = "mlflow.json"


def uri(experiment: Experiment) -> str:
    """The tracking address: as configured, else a SQLite file in the store, or where that has an address, in the
    driver's folder for it."""
    return experiment.tracking.uri or f"sqlite:///{experiment.storage.local / 'mlflow.db'}"


def ui_command(experiment: Experiment, python: str) -> str:
    """The command that opens the UI on what was tracked."""
    if experiment.tracking.uri and experiment.tracking.uri.startswith("http"):
        return f"open {experiment.tracking.uri}"
    return f"{python} -m mlflow ui --backend-store-uri {uri(experiment)}"


def opened(experiment: Experiment) -> "MlflowClient":
    """A client of the experiment's MLflow, which is the one for this process from now on."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    # A server that is gone costs 14 s, not the 4 minutes that seven tries take.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    logging.getLogger("alembic").setLevel(logging.ERROR)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    # Nor is one that takes a connection and says nothing waited for 2 minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    mlflow_address.check_database(uri(experiment))
    import mlflow

    mlflow.set_tracking_uri(uri(experiment))
    return mlflow.MlflowClient()


def connect(experiment: Experiment) -> tuple["MlflowClient", str]:
    """A client, and the id of the MLflow experiment, made where it does not exist yet."""
    client = opened(experiment)
    existing = client.get_experiment_by_name(experiment.name)
    if existing is not None:
        return client, existing.experiment_id
    artifact_root = None if experiment.tracking.uri else str(experiment.artifacts)
    return client, client.create_experiment(experiment.name, artifact_location=artifact_root)


@contextlib.contextmanager
def out_of_reach(report: Callable[[str], None]) -> Iterator[None]:
    """MLflow mirrors the records: neither a night of measuring nor a deployment ends because it is gone. The
    reason is reported."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # MLflow raises what its database, its artifact store and its server do
        report(f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])


def missed_by(run: Run) -> Callable[[str], None]:
    """Says what a run's MLflow misses for now, and leaves it in the run."""

    def report(reason: str) -> None:
        run.not_tracked = reason
        run.progress.say("mlflow", f"out of reach, continuing without it: {reason}")

    return report


def remembered(experiment: Experiment) -> dict[str, Any]:
    """Ids of the parent run and of the models by their checkpoint's fingerprint, and what was mirrored last."""
    kept = Store.of(experiment.storage).kept_mapping(experiment.name, _MIRRORED)
    models = kept.get("models", {})
    return kept if isinstance(models, dict) and all(isinstance(model, str) for model in models.values()) else {}


def remember(experiment: Experiment, run_id: str, state: Any, models: dict[str, str]) -> None:
    content = {"run_id": run_id, "state": state, "models": models}
    Store.of(experiment.storage).keep(experiment.name, _MIRRORED, content)
