"""MLflow, which mirrors the records and is never asked whether something is done.

The only file that imports mlflow, and only when there is something to say to it.
"""

import contextlib
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.experiment import Experiment
from flows import tables
from flows.chosen import Chosen
from flows.context import Outcome, Run
from flows.judgement import Judgement
from flows.records import Record
from flows.verify import Verification

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DRIVER = "msf.driver"
"""Tag of a parent run: host and process id of the driver that writes it."""
_FINGERPRINT = "msf.fingerprint"
_MIRRORED = "mlflow.json"
_MOST_TABLES = 70
"""MLflow lists a run's tables in one tag of 8,000 characters, and raises behind its end; report.md has them all."""


def uri(experiment: Experiment) -> str:
    """The tracking address: as configured, else a SQLite file in the store, or where that has an address, in the
    driver's folder for it."""
    return experiment.tracking.uri or f"sqlite:///{experiment.storage.local / 'mlflow.db'}"


def ui_command(experiment: Experiment, python: str) -> str:
    """The command that opens the UI on what was tracked."""
    if experiment.tracking.uri and experiment.tracking.uri.startswith("http"):
        return f"open {experiment.tracking.uri}"
    return f"{python} -m mlflow ui --backend-store-uri {uri(experiment)}"


@contextlib.contextmanager
def open_run(run: Run) -> Iterator[None]:
    """A parent run that is RUNNING while the block lasts, so that the UI shows work under way.

    Closes what died before: a RUNNING run of this experiment whose driver, on this host, is gone.
    """
    with _out_of_reach_is_told(run):
        _open(run)
    try:
        yield
    except BaseException:
        _close(run, "FAILED")
        raise
    _close(run, "FINISHED")


def _open(run: Run) -> None:
    client, experiment_id = _client(run.plan.experiment)
    _close_dead(client, experiment_id)
    parent = client.create_run(
        experiment_id,
        run_name=run.plan.experiment.name,
        tags={_DRIVER: f"{socket.gethostname()}:{os.getpid()}", "msf.kind": "experiment"},
    )
    _remember(run, parent.info.run_id, judgement=None)


def _close(run: Run, status: str) -> None:
    with _out_of_reach_is_told(run):
        client, _ = _client(run.plan.experiment)
        if parent := _remembered(run).get("run_id"):
            client.set_terminated(parent, status)


@contextlib.contextmanager
def _out_of_reach_is_told(run: Run) -> Iterator[None]:
    """MLflow mirrors the records: a night of measuring does not end because it is gone. What it misses is
    written when the same experiment is run again."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        run.not_tracked = " ".join(str(error).split())[:300]
        run.progress.say("mlflow", f"out of reach, going on without it: {run.not_tracked}")


def mirror(run: Run, judgement: Judgement) -> None:
    """Write parameters, metrics, artifacts and models of a run; nothing where that was done before. Where MLflow
    is out of reach, the run says so (`Run.not_tracked`)."""
    run.not_tracked = None
    with _out_of_reach_is_told(run):
        _mirror(run, judgement)


def _mirror(run: Run, judgement: Judgement) -> None:
    remembered = _remembered(run)
    state = {"judgement": judgement.to_json(), "uri": uri(run.plan.experiment)}
    if remembered.get("state") == state:
        return
    run.progress.say("mlflow", "writing metrics and models ...")
    client, experiment_id = _client(run.plan.experiment)
    parent = remembered.get("run_id") if remembered.get("state") is None else None
    if parent is None:
        parent = client.create_run(experiment_id, run_name=run.plan.experiment.name).info.run_id
    folder = _folder(run)
    client.set_tag(parent, "msf.answer", judgement.answer)
    client.set_tag(parent, "mlflow.note.content", judgement.sentence)
    client.log_text(parent, _yaml(run.plan.experiment), "experiment.yaml")
    client.log_dict(parent, run.plan.hardware.model_dump(), "hardware.json")
    for name in ("decision.json", "report.html", "report.md"):
        client.log_artifact(parent, str(folder / name))
    models = remembered.get("models", {})
    for outcome in run.outcomes.values():
        if outcome.checkpoint is not None:
            models |= _mirror_variant(run, client, experiment_id, parent, outcome, models)
    # Last, for a table that is there already gets the same rows once more.
    for table in tables.all_of(judgement, run.plan.experiment.decision)[:_MOST_TABLES]:
        client.log_table(parent, table.columns, f"tables/{table.name}.json")
    client.set_terminated(parent, "FINISHED")
    _remember(run, parent, state, models)


def _mirror_variant(
    run: Run,
    client: "MlflowClient",
    experiment_id: str,
    parent: str,
    outcome: Outcome,
    models: dict[str, str],
) -> dict[str, str]:
    """A child run with a variant's figures, and its checkpoint as a LoggedModel of that run."""
    import mlflow

    child = client.create_run(
        experiment_id,
        run_name=outcome.name,
        tags={"mlflow.parentRunId": parent, "msf.kind": "variant", "msf.variant": outcome.name},
    ).info.run_id
    parameters = _parameters(run, outcome)
    for key, value in parameters.items():
        client.log_param(child, key, value)
    fingerprint = outcome.plan.checkpoint.fingerprint
    if run.plan.experiment.tracking.log_checkpoints:
        model_id = models.get(fingerprint) or _log_model(client, experiment_id, child, outcome, parameters)
        models = models | {fingerprint: model_id}
        client.log_outputs(child, [mlflow.entities.LoggedModelOutput(model_id=model_id, step=0)])
    figures = metrics(outcome, run.plan.experiment)
    for name, figure in figures.items():
        client.log_metric(child, name, figure)
    if run.plan.experiment.tracking.log_checkpoints:
        mlflow.log_metrics(figures, run_id=child, model_id=models[fingerprint])
    for slice_, record in enumerate(outcome.evaluations):
        if record is not None:
            _log_files(client, child, record, f"{record.kind}/{slice_ + 1}")
    if outcome.control is not None:
        _log_files(client, child, outcome.control, "control")
    for (workload, repeat), record in zip(run.plan.experiment.benchmarks, outcome.benchmarks, strict=True):
        if record is not None:
            place = "/".join(filter(None, (record.kind, workload, str(repeat + 1))))
            _log_files(client, child, record, place)
    client.set_terminated(child, "FAILED" if outcome.failure else "FINISHED")
    return models


def _log_files(client: "MlflowClient", run_id: str, record: Record, place: str) -> None:
    with record.files.held() as folder:
        client.log_artifacts(run_id, str(folder), place)


def _log_model(
    client: "MlflowClient", experiment_id: str, child: str, outcome: Outcome, parameters: dict[str, str]
) -> str:
    """The checkpoint folder itself as a LoggedModel."""
    import mlflow

    model = mlflow.initialize_logged_model(
        name=outcome.name.replace(".", "_"),  # MLflow takes no dots in a model name
        source_run_id=child,
        params=parameters,
        tags={_FINGERPRINT: outcome.plan.checkpoint.fingerprint},
        model_type="checkpoint",
        experiment_id=experiment_id,
    )
    with outcome.checkpoint_on(None) as folder:
        client.log_model_artifacts(model.model_id, str(folder))
    mlflow.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def verified(run: Run, found: Verification, file: str) -> None:
    """Leave a verification in the parent run: its verdict, its figures, and the file of that name; nothing where
    the experiment was never tracked."""
    if (parent := _remembered(run).get("run_id")) is None:
        return
    client, _ = _client(run.plan.experiment)
    client.set_tag(parent, "msf.verified", f"{found.variant}: {'pass' if found.passed else 'FAIL'}")
    for name, value in found.figures.items():
        client.log_metric(parent, f"verification.{name}", value)
    client.log_artifact(parent, str(_folder(run) / file))


def register(chosen: Chosen) -> str | None:
    """Make a deployed variant the champion of the experiment's registered model; the one that was it before
    becomes `previous`.

    Returns:
        name and version; None where its checkpoint was not logged (tracking.log_checkpoints).
    """
    fingerprint, name = chosen.checkpoint.fingerprint, chosen.run.plan.experiment.name
    if (model_id := _remembered(chosen.run).get("models", {}).get(fingerprint)) is None:
        return None
    client, _ = _client(chosen.run.plan.experiment)
    import mlflow

    known = {version.tags.get(_FINGERPRINT): version for version in client.search_model_versions(f"name='{name}'")}
    now = known.get(fingerprint)
    if now is None:
        with contextlib.redirect_stderr(io.StringIO()):  # it prints what is said in one line further up
            now = mlflow.register_model(f"models:/{model_id}", name, tags={_FINGERPRINT: fingerprint})
    aliases = client.get_registered_model(name).aliases
    if (before := aliases.get("champion")) not in (None, now.version):
        client.set_registered_model_alias(name, "previous", before)
    client.set_registered_model_alias(name, "champion", now.version)
    scheme = chosen.outcome.plan.scheme
    told = {"verdict": chosen.judged.verdict or "reference", "scheme": scheme.kind if scheme else "none"}
    for difference in chosen.judged.differences if scheme else ():
        if difference.recovery is not None:
            low, high = difference.recovery_low, difference.recovery_high
            told[f"recovery.{difference.task}"] = f"{difference.recovery:.4f} [{low:.4f}, {high:.4f}]"
    for key, value in told.items():
        client.set_model_version_tag(name, now.version, f"msf.{key}", value)
    return f"{name} version {now.version} as champion"


def metrics(outcome: Outcome, experiment: Experiment) -> dict[str, float]:
    """A variant's figures by MLflow name, units in the names: `ttft_p95_ms.streams_2`, or of a workload
    `ttft_p95_ms.chat.streams_2`."""
    found: dict[str, float] = {}
    if outcome.checkpoint is not None:
        found["size_mb"] = outcome.checkpoint.result["weight_bytes"] / 1e6
        found["checkpoint_seconds"] = outcome.checkpoint.seconds
    if len(outcome.evaluations) == 1 and outcome.evaluations[0] is not None:
        for task, figures in outcome.evaluations[0].result["tasks"].items():
            found |= {f"{task}.{metric}": value for metric, value in figures["metrics"].items()}
    for name, values in _over_repeats(outcome, experiment).items():
        found[name] = sum(values) / len(values)
    return found


def _over_repeats(outcome: Outcome, experiment: Experiment) -> dict[str, list[float]]:
    """Every figure of every load by its name, workload and point, repeat by repeat."""
    found: dict[str, list[float]] = {}
    for (workload, _), record in zip(experiment.benchmarks, outcome.benchmarks, strict=True):
        for point in record.result["points"] if record else []:
            suffix = ".".join(filter(None, (workload, f"{point['unit']}_{point['asked']:g}")))
            for key, value in point.items():
                if key not in ("unit", "asked"):
                    found.setdefault(f"{key}.{suffix}", []).append(value)
    return found


def _parameters(run: Run, outcome: Outcome) -> dict[str, str]:
    scheme = outcome.plan.scheme
    found = {"model": run.plan.experiment.model.label, "variant": outcome.name}
    if scheme:
        found |= {f"scheme.{key}": str(value) for key, value in scheme.model_dump(mode="json").items()}
    for step in outcome.plan.steps:
        found |= {f"library.{name}": version for name, version in step.libraries.items()}
        if step not in outcome.plan.benchmarks:
            found[f"fingerprint.{step.kind}"] = step.fingerprint
    for (workload, repeat), step in zip(run.plan.experiment.benchmarks, outcome.plan.benchmarks, strict=True):
        found[".".join(filter(None, ("fingerprint", step.kind, workload, str(repeat + 1))))] = step.fingerprint
    return found | {"hardware": run.plan.hardware.name}


def _client(experiment: Experiment) -> tuple["MlflowClient", str]:
    """A client, and the id of the MLflow experiment, made where it does not exist yet."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    # A server that is gone is asked for 14 s, not for the 4 minutes that seven tries take.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    import logging

    logging.getLogger("alembic").setLevel(logging.ERROR)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    import mlflow

    mlflow.set_tracking_uri(uri(experiment))
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(experiment.name)
    if found is not None:
        return client, found.experiment_id
    place = None if experiment.tracking.uri else str(experiment.storage.local / "mlartifacts")
    return client, client.create_experiment(experiment.name, artifact_location=place)


def _close_dead(client: "MlflowClient", experiment_id: str) -> None:
    for stale in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        host, _, process = stale.data.tags.get(_DRIVER, "").partition(":")
        if host == socket.gethostname() and not Path(f"/proc/{process}").exists():
            client.set_terminated(stale.info.run_id, "KILLED")


def _yaml(experiment: Experiment) -> str:
    import yaml

    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)


def _folder(run: Run) -> Path:
    return run.plan.experiment.storage.experiments / run.plan.experiment.name


def _remembered(run: Run) -> dict[str, Any]:
    return run.store.kept(run.plan.experiment.name, _MIRRORED) or {}


def _remember(run: Run, run_id: str, judgement: Any = None, models: dict[str, str] | None = None) -> None:
    models = models if models is not None else _remembered(run).get("models", {})
    told = {"run_id": run_id, "state": judgement, "models": models}
    run.store.keep(run.plan.experiment.name, _MIRRORED, told)
