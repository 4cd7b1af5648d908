"""What cannot work, checked before any device is taken: one clear line for each mistake."""

import difflib
import json
import os
import socket
from pathlib import Path
from typing import Any

import yaml

from actors import environments
from configs.accuracy import COMPARABLE, TASKS_FOLDER, Task, local_task
from configs.base import REPOSITORY, UserError
from configs.calibration import LocalText
from configs.experiment import Experiment
from configs.metrics import PERPLEXITIES
from configs.model import PathModel, RegisteredModel
from configs.schemes import RecipeFile
from configs.serving import Draft
from configs.variants import Variant
from configs.yaml_files import Malformed
from flows import cluster
from flows.planning import (
    capacity,
    energy,
    gpu_memory,
    hub,
    judgeable,
    mlflow_address,
    model_folder,
    prompts,
    stock_tasks,
    task_files,
    task_packages,
)
from flows.planning.plan import Plan
from flows.store import checkpoints, likeness
from flows.store.folder import check_writable
from flows.store.records import Store


def check_inputs(experiment: Experiment, accelerator: str) -> None:
    """Raise UserError for the first file, folder or name in an experiment that is not what it should
    be. This comes before planning, which reads those files."""
    _environments_built(accelerator)
    _store_writable(experiment.storage.local)
    Store.of(experiment.storage).check_usable()
    if isinstance(experiment.model, PathModel):
        model_folder.check(experiment.model.path, accelerator, _named(experiment.model, "model"))
        for field, scheme in experiment.candidates.schemes_by_path:
            checkpoints.check_divides(checkpoints.tensors(experiment.model.path), scheme, field)
    for field, scheme in experiment.candidates.schemes_by_path:
        if isinstance(scheme, RecipeFile):
            _recipe(scheme, field)
    for variant in experiment.variants:
        _checkpoint(experiment, variant, accelerator)
    _drafts(experiment, accelerator)
    _calibration(experiment)
    tasks = experiment.accuracy.tasks
    may_run = experiment.accuracy.allow_code
    least = experiment.fewest_documents
    kinds = [_task(each, f"accuracy.tasks.{at}", accelerator, may_run, least) for at, each in enumerate(tasks)]
    judgeable.someone_judges(experiment.accuracy, kinds)
    proxy = experiment.racing and experiment.racing.proxy
    if proxy and _task(proxy, "racing.proxy", accelerator, may_run, COMPARABLE) not in PERPLEXITIES:
        raise UserError(f"racing.proxy: {proxy.name!r} is not a text with a perplexity; name one that is")
    chats = {f"accuracy.tasks.{position}.chat_template": task.chat_template for position, task in enumerate(tasks)}
    for field, chat_template in {"accuracy.chat_template": experiment.accuracy.chat_template, **chats}.items():
        if chat_template:
            _chat_template(experiment, field)


def check(plan: Plan) -> None:
    """Raise UserError for the first thing in a plan that this machine cannot do; take nothing."""
    experiment = plan.experiment
    capacity.check(plan)
    energy.check(plan)
    prompts.check(plan)
    hub.check(plan)
    if experiment.tracking.uri:
        _tracking_reachable(experiment.tracking.uri)
    if missing := Store.of(experiment.storage).missing(plan.steps):
        capacity.check_disk(plan, missing)
        if not plan.hardware.on_cpu:
            gpu_memory.check(experiment.serving, cluster.gpu_use(plan.hardware))


def _checkpoint(experiment: Experiment, variant: Variant, accelerator: str) -> None:
    """The checkpoint that a variant brings, if it lies on this machine; the run itself compares any other with the
    base."""
    field, base = experiment.yaml_path(variant.name), experiment.model
    if not isinstance(variant.checkpoint, PathModel):
        return
    folder, where = variant.checkpoint.path, _named(variant.checkpoint, f"{field}.checkpoint")
    model_folder.check(folder, accelerator, where, to_be_quantized=False)
    if isinstance(base, PathModel) and not variant.another_model and (odd := likeness.unlike(base.path, folder)):
        raise UserError(f"{where}: {folder} {likeness.refusal(odd, field)}")


def _named(folder: PathModel, section: str) -> str:
    """The field that a folder comes from."""
    return f"{section}.{'uri' if isinstance(folder, RegisteredModel) else 'path'}"


def _drafts(experiment: Experiment, accelerator: str) -> None:
    base = experiment.model.path if isinstance(experiment.model, PathModel) else None
    of_variants = [(f"{path}.serving", variant.serving) for path, variant in experiment.candidates.possible]
    for section, serving in [("serving", experiment.serving), *of_variants]:
        if isinstance(serving.speculative, Draft):
            model_folder.check_draft(serving.speculative, base, accelerator, f"{section}.speculative.path")


def _recipe(scheme: RecipeFile, section: str) -> None:
    field = f"{section}.path"
    if not scheme.path.is_file():
        raise UserError(f"{field}: {scheme.path} is not a file; give an llm-compressor recipe in YAML")
    try:
        scheme.recipe()
    except Malformed as error:
        raise UserError(f"{field}: {scheme.path.name}: {error}") from None


def _environments_built(accelerator: str) -> None:
    for role in ("quantize", "inference"):
        try:
            environments.interpreter(role, accelerator)
        except environments.EnvironmentMissing as missing:
            raise UserError(str(missing)) from None


def _store_writable(root: Path) -> None:
    if _in_a_job() and root.resolve().is_relative_to(REPOSITORY):
        raise UserError(
            f"storage.root: {root} lies inside the working directory of a Ray job, which Ray deletes; give a folder "
            "that every node reaches, in the experiment or in MSF_STORE"
        )
    check_writable(root)


def _in_a_job() -> bool:
    """Whether a Ray job runs this in a working directory of its own; what is not Ray's says nothing."""
    try:
        config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    except ValueError:
        return False
    environment = config.get("runtime_env") if isinstance(config, dict) else None
    return isinstance(environment, dict) and bool(environment.get("working_dir"))


def _calibration(experiment: Experiment) -> None:
    """Whether the source is enough for the scheme that asks for most.

    A token is at least one byte of text, so too few bytes are too few tokens; the exact count is
    known once the tokenizer is loaded.
    """
    configured = experiment.calibration
    calibrated = [scheme for _, scheme in experiment.candidates.schemes_by_path if scheme.needs_calibration]
    if configured is None or not calibrated:
        return
    largest = max(calibrated, key=lambda scheme: configured.for_scheme(scheme).samples)
    calibration = configured.for_scheme(largest)
    field = "calibration.samples" if calibration == configured else f"calibration_samples of scheme {largest.name!r}"
    source = calibration.source
    if not isinstance(source, LocalText):
        return
    if not source.path.is_file():
        raise UserError(f"calibration.source.path: {source.path} is not a file; give a .txt or .jsonl file")
    try:
        documents, size, chats = _counted(source)
    except Malformed as error:
        raise UserError(f"calibration.source.path: {source.path.name} {error}") from None
    if size == 0:
        raise UserError(f"calibration.source.path: {source.path} is empty; give a file with text")
    if source.path.suffix == ".jsonl" and not calibration.packed and documents < calibration.samples:
        raise UserError(
            f"{field}: {calibration.samples} requested, {source.path.name} has {documents} rows; "
            "request fewer or give a longer file"
        )
    if chats:
        _chat_template(experiment, "calibration.source.path")
    wanted = calibration.samples * (calibration.sequence_length if calibration.packed else 1)
    if size < wanted:
        raise UserError(
            f"{field}: {calibration.samples} samples of {calibration.sequence_length} tokens need more "
            f"text than the {size} bytes of {source.path.name}; request fewer or give a longer file"
        )


def _counted(source: LocalText) -> tuple[int, int, bool]:
    """Documents of a calibration file, its bytes, and whether any is a chat. Every one of them is looked at."""
    documents, chats = 0, False
    for document in source.documents():
        documents += 1
        chats = chats or isinstance(document, list)
    return documents, source.path.stat().st_size if documents else 0, chats


def _chat_template(experiment: Experiment, field: str) -> None:
    model = experiment.model
    if isinstance(model, PathModel) and not checkpoints.has_chat_template(model.path):
        raise UserError(
            f"{field}: needs a chat template, and the tokenizer of {model.path} has none; add chat_template.jinja "
            "or use plain text"
        )


def _task(task: Task, field: str, accelerator: str, allow_code: bool, least: int) -> str:
    """How a task is judged (`configs.metrics.Kind`); it must have at least so many documents."""
    for file in [task.path, *(task.data_files or {}).values()]:
        if file and not file.is_file():
            raise UserError(f"{field}: {file} is not a file; check the path")
    local = task.path or local_task(task.name)
    if local is None:
        _known_to_lm_eval(task, field, accelerator)
    try:
        definitions = _definitions(task, local, accelerator, least)
    except (Malformed, yaml.YAMLError) as error:
        where = ".path" if task.path else ".data_files" if task.data_files else ""
        raise UserError(f"{field}{where}: {' '.join(str(error).split())}") from None
    files = [local] if local else stock_tasks.files(task.name, accelerator)
    if lacking := task_packages.lacking(files, accelerator):
        raise UserError(
            f"{field}: {task.name!r} imports {', '.join(lacking)}, which the evaluation environment does not have; "
            "choose a task that does not need them"
        )
    try:
        return judgeable.judged_by(definitions, task, allow_code=allow_code)
    except UserError as error:
        raise UserError(f"{field}: {error}") from None


def _definitions(task: Task, local: Path | None, accelerator: str, least: int) -> list[dict[str, Any]]:
    """The files of a task, or of all tasks of a group, after every document that lies on this machine was read."""
    if local is None:
        definitions = stock_tasks.definitions(task.name, accelerator)
        if task.data_files:
            task_files.check_documents(task, definitions[0] if definitions else {}, task.data_files, least)
        return definitions
    definition = task_files.read(local, task)
    if files := task_files.own_data_files(definition, local.parent):
        task_files.check_documents(task, definition, files, least)
    return [definition]


def _known_to_lm_eval(task: Task, field: str, accelerator: str) -> None:
    kinds = stock_tasks.kinds(accelerator)
    if task.name not in kinds:
        local = [path.stem for path in TASKS_FOLDER.rglob("*.yaml")]
        near = difflib.get_close_matches(task.name, [*local, *kinds], n=3)
        hint = f"nearest names: {', '.join(near)}" if near else f"local tasks: {', '.join(sorted(local))}"
        raise UserError(f"{field}.name: {task.name!r} is not an lm-eval task; {hint}")
    if task.data_files and kinds[task.name] != "task":
        raise UserError(
            f"{field}.data_files: {task.name!r} is a {kinds[task.name]} of several tasks, whose data differ; list "
            "its tasks one by one, or give a task file of your own as `path`"
        )


def check_port_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"serving.port: {port} on {host} cannot be used ({error.strerror}); end the process that holds it or "
                "choose another with --set serving.port=PORT"
            ) from None


def _tracking_reachable(uri: str) -> None:
    try:
        mlflow_address.check(uri)
    except mlflow_address.CannotBeOpened as error:
        raise UserError(f"tracking.uri: {error}") from None
