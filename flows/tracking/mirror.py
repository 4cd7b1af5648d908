"""Every run's parameters, metrics, artifacts and models in MLflow, as the records have them."""

import contextlib
import itertools
import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from configs.experiment import Experiment
from flows.analysis import answers, requests
from flows.analysis.judgement import Judgement
from flows.reporting import tables
from flows.runtime.context import Run
from flows.runtime.outcome import Outcome
from flows.store.records import Record
from flows.store.results import Result
from flows.tracking.client import connect, missed_by, out_of_reach, remember, remembered, uri
from flows.tracking.models import log_model

if TYPE_CHECKING:
    from mlflow import MlflowClient

_T = TypeVar("_T")

_DRIVER = "msf.driver"
"""Tag of a parent run: host and process id of the driver that writes it."""
_NOT_IN_NAMES = re.compile(r"[^/\w.\- :]")
"""Characters that MLflow refuses in a metric's name, such as those of `chrf++` and `r@1`."""
_MOST_TABLES = 70
"""MLflow lists a run's tables in one tag of 8,000 characters, and raises behind its end; report.md has them all."""


@contextlib.contextmanager
def open_run(run: Run) -> Iterator[None]:
    """A parent run that is RUNNING while the block lasts, so that the UI shows work under way. It is opened beside the
    block's first steps: a new MLflow database takes seconds, a server that is gone longer.

    Closes what died before: a RUNNING run of this experiment whose driver, on this host, is gone.
    """
    with ThreadPoolExecutor(max_workers=1) as aside:
        opening, status = aside.submit(_open, run), "FAILED"
        try:
            yield
            status = "FINISHED"
        finally:
            opening.result()
            _close(run, status)


def _open(run: Run) -> None:
    with out_of_reach(missed_by(run)):
        client, experiment_id = connect(run.plan.experiment)
        _close_dead(client, experiment_id)
        parent = client.create_run(
            experiment_id,
            run_name=run.plan.experiment.name,
            tags={_DRIVER: f"{socket.gethostname()}:{os.getpid()}", "msf.kind": "experiment"},
        )
        remember(run.plan.experiment, parent.info.run_id, None, remembered(run.plan.experiment).get("models", {}))


def _close(run: Run, status: str) -> None:
    with out_of_reach(missed_by(run)):
        client, _ = connect(run.plan.experiment)
        if parent := remembered(run.plan.experiment).get("run_id"):
            client.set_terminated(parent, status)


def mirror(run: Run, judgement: Judgement) -> None:
    """Write parameters, metrics, artifacts and models of a run; nothing where that was done before. Where MLflow
    is out of reach, the run says so (`Run.not_tracked`)."""
    run.not_tracked = None
    mirrored = remembered(run.plan.experiment)
    state = {"judgement": judgement.to_json(), "uri": uri(run.plan.experiment)}
    if mirrored.get("state") == state:
        return
    run.progress.say("mlflow", "writing metrics and models ...")
    with out_of_reach(missed_by(run)):
        _mirror(run, judgement, mirrored, state)


def _mirror(run: Run, judgement: Judgement, mirrored: dict[str, Any], state: dict[str, str]) -> None:
    client, experiment_id = connect(run.plan.experiment)
    parent = mirrored.get("run_id") if mirrored.get("state") is None else None
    if parent is None:
        parent = client.create_run(experiment_id, run_name=run.plan.experiment.name).info.run_id
    folder = run.plan.experiment.results
    client.set_tag(parent, "msf.answer", judgement.answer)
    client.set_tag(parent, "mlflow.note.content", judgement.sentence)
    client.log_text(parent, _yaml(run.plan.experiment), "experiment.yaml")
    client.log_dict(parent, run.plan.hardware.model_dump(), "hardware.json")
    for name in ("decision.json", "report.html", "report.md"):
        client.log_artifact(parent, str(folder / name))
    models = mirrored.get("models", {})
    for outcome in run.outcomes.values():
        if outcome.checkpoint is not None:
            reason = judgement.reasons.get(outcome.name, "")
            models |= _mirror_variant(run, client, experiment_id, parent, outcome, models, reason)
    # Last, for a table that is there already gets the same rows once more.
    for table in tables.all_of(judgement, run.plan.experiment.decision)[:_MOST_TABLES]:
        client.log_table(parent, table.columns, f"tables/{table.name}.json")
    client.set_terminated(parent, "FINISHED")
    remember(run.plan.experiment, parent, state, models)


def _mirror_variant(
    run: Run,
    client: "MlflowClient",
    experiment_id: str,
    parent: str,
    outcome: Outcome,
    models: dict[str, str],
    reason: str,
) -> dict[str, str]:
    """A child run with a variant's figures and why it was not chosen, and its checkpoint as a LoggedModel of that
    run."""
    import mlflow
    from mlflow.utils.validation import MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH

    child = client.create_run(
        experiment_id,
        run_name=outcome.name,
        tags={"mlflow.parentRunId": parent, "msf.kind": "variant", "msf.variant": outcome.name}
        | ({"mlflow.note.content": reason} if reason else {}),
    ).info.run_id
    parameters = _parameters(run, outcome)
    for some in _batches(parameters, MAX_PARAMS_TAGS_PER_BATCH):
        mlflow.log_params(some, run_id=child)
    fingerprint = outcome.plan.checkpoint.fingerprint
    if run.plan.experiment.tracking.log_checkpoints:
        model_id = models.get(fingerprint) or log_model(run, client, experiment_id, child, outcome, parameters)
        models = models | {fingerprint: model_id}
        client.log_outputs(child, [mlflow.entities.LoggedModelOutput(model_id=model_id, step=0)])
    for figures in _batches(metrics(outcome, run.plan.experiment), MAX_METRICS_PER_BATCH):
        mlflow.log_metrics(figures, run_id=child, model_id=models.get(fingerprint))
    for slice_, record in enumerate(outcome.evaluations):
        if record is not None:
            _log_files(client, child, record, f"{record.kind}/{slice_ + 1}")
    if outcome.control is not None:
        _log_files(client, child, outcome.control, "control")
    for (workload, repeat), benchmark in zip(run.plan.experiment.benchmarks, outcome.benchmarks, strict=True):
        if benchmark is not None:
            artifact_path = "/".join(filter(None, (benchmark.kind, workload, str(repeat + 1))))
            _log_files(client, child, benchmark, artifact_path)
    client.set_terminated(child, "FAILED" if outcome.failure else "FINISHED")
    return models


def _batches(values: dict[str, _T], most: int) -> Iterator[dict[str, _T]]:
    """The same in as few parts as MLflow takes: each of them is a transaction of its database."""
    left = iter(values.items())
    while some := dict(itertools.islice(left, most)):
        yield some


def _log_files(client: "MlflowClient", run_id: str, record: Record[Result], artifact_path: str) -> None:
    with record.files.held() as folder:
        client.log_artifacts(run_id, str(folder), artifact_path)


def metrics(outcome: Outcome, experiment: Experiment) -> dict[str, float]:
    """A variant's figures by MLflow name, units in the names: `ttft_p95_ms.streams_2`, or of a workload
    `ttft_p95_ms.chat.streams_2`."""
    by_name: dict[str, float] = {}
    if outcome.checkpoint is not None:
        by_name["size_mb"] = outcome.checkpoint.result.weight_bytes / 1e6
        by_name["checkpoint_seconds"] = outcome.checkpoint.seconds
    # Where variants race, those that were stopped answered other documents: no figure of theirs could be compared.
    answered = [record for record in outcome.evaluations if record]
    if len(outcome.evaluations) == len(answered) == 1:
        for task, scores in answered[0].result.tasks.items():
            by_name |= {f"{task}.{metric}": value for metric, value in scores.metrics.items()}
    elif len(outcome.evaluations) == len(answered):
        by_name |= answers.overall(answers.read(answered, experiment.accuracy.tasks))
    for name, values in _over_repeats(outcome, experiment).items():
        by_name[name] = sum(values) / len(values)
    return {_NOT_IN_NAMES.sub("_", name): value for name, value in by_name.items()}


def _over_repeats(outcome: Outcome, experiment: Experiment) -> dict[str, list[float]]:
    """Every figure of every load by its name, workload and point, repeat by repeat. Of a point that does not count in
    every repeat only what says why: a mean of the others would be taken for all."""
    by_name: dict[str, list[float]] = {}
    void: set[str] = set()
    for (workload, _), record in zip(experiment.benchmarks, outcome.benchmarks, strict=True):
        for point in record.result.points if record else ():
            suffix = ".".join(filter(None, (workload, f"{point['unit']}_{point['asked']:g}")))
            void |= set() if requests.counts(point) else {suffix}
            for key, value in point.items():
                if key not in ("unit", "asked"):
                    by_name.setdefault(f"{key}.{suffix}", []).append(value)
    return {name: values for name, values in by_name.items() if _says_why(name) or name.partition(".")[2] not in void}


def _says_why(name: str) -> bool:
    return name.partition(".")[0] in ("requests", "errors", "unfinished", "seconds", "client_share", "compiled")


def _parameters(run: Run, outcome: Outcome) -> dict[str, str]:
    scheme, checkpoint = outcome.plan.scheme, outcome.plan.checkpoint
    parameters = {"model": run.plan.experiment.model.label, "variant": outcome.name}
    if scheme:
        parameters |= {f"scheme.{key}": str(value) for key, value in scheme.model_dump(mode="json").items()}
    elif outcome is not run.base and outcome.plan.model:
        parameters["checkpoint"] = outcome.plan.model.label
    parameters |= {f"serving.{key}": text for key, text in outcome.plan.changes_as_text.items()}
    for step in outcome.plan.steps:
        parameters |= {f"library.{name}": version for name, version in step.libraries.items()}
    single = {"proxy": outcome.plan.proxy, "control": outcome.plan.control, checkpoint.kind: checkpoint}
    parameters |= {f"fingerprint.{name}": step.fingerprint for name, step in single.items() if step}
    for index, step in enumerate(outcome.plan.evaluations):
        parameters[f"fingerprint.{step.kind}.{index + 1}"] = step.fingerprint
    for (workload, repeat), step in zip(run.plan.experiment.benchmarks, outcome.plan.benchmarks, strict=True):
        parameters[".".join(filter(None, ("fingerprint", step.kind, workload, str(repeat + 1))))] = step.fingerprint
    return parameters | {"hardware": run.plan.hardware.name}


def _close_dead(client: "MlflowClient", experiment_id: str) -> None:
    for stale in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        host, _, process = stale.data.tags.get(_DRIVER, "").partition(":")
        if host == socket.gethostname() and not Path(f"/proc/{process}").exists():
            client.set_terminated(stale.info.run_id, "KILLED")


def _yaml(experiment: Experiment) -> str:
    import yaml

    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
