"""What cannot work, found before any device is taken: one clear line for each mistake."""

import difflib
import json
import os
import socket
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from actors import environments
from configs.accuracy import TASKS_FOLDER, Task
from configs.base import REPOSITORY, UserError
from configs.calibration import LocalText
from configs.experiment import Experiment
from configs.metrics import PERPLEXITIES
from configs.model import PathModel
from configs.schemes import RecipeFile
from flows import checkpoints, cluster, disk, gpu_memory, hub, judgeable, memory, prompts, sizes, stock_tasks
from flows.plan import Plan, engine_args
from flows.records import Store
from flows.steps import Step


def check_inputs(experiment: Experiment, accelerator: str) -> None:
    """Raise UserError for the first file, folder or name in an experiment that is not what it should
    be. This comes before planning, which reads those files."""
    _environments_built(accelerator)
    _store_writable(experiment.storage.local)
    Store.of(experiment.storage).check_usable()
    if isinstance(experiment.model, PathModel):
        checkpoints.check_model_folder(experiment.model.path)
        for position, scheme in enumerate(experiment.possible):
            checkpoints.check_divides(checkpoints.tensors(experiment.model.path), scheme, experiment.place(position))
    for position, scheme in enumerate(experiment.possible):
        if isinstance(scheme, RecipeFile):
            _recipe(scheme, experiment.place(position))
    _calibration(experiment)
    tasks = experiment.accuracy.tasks
    kinds = [_task(task, f"accuracy.tasks.{position}", accelerator) for position, task in enumerate(tasks)]
    judgeable.someone_judges(experiment.accuracy, kinds)
    if experiment.racing and _task(experiment.racing.proxy, "racing.proxy", accelerator) not in PERPLEXITIES:
        raise UserError(
            f"racing.proxy: {experiment.racing.proxy.name!r} is no text with a perplexity; name one that is"
        )
    if experiment.accuracy.chat_template:
        _chat_template(experiment, "accuracy.chat_template")


def check(plan: Plan) -> None:
    """Raise UserError for the first thing in a plan that this machine cannot do; take nothing."""
    experiment = plan.experiment
    _servable(plan)
    _memory(plan)
    prompts.check(plan)
    hub.check(plan)
    if experiment.tracking.uri:
        _tracking_reachable(experiment.tracking.uri)
    if missing := Store.of(experiment.storage).missing(plan.steps):
        _disk(plan, missing)
        if not plan.hardware.on_cpu:
            gpu_memory.check(experiment.serving, cluster.gpu_use(plan.hardware))


def _recipe(scheme: RecipeFile, place: str) -> None:
    field = f"{place}.path"
    if not scheme.path.is_file():
        raise UserError(f"{field}: {scheme.path} is not a file; give an llm-compressor recipe in YAML")
    try:
        recipe = scheme.recipe()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{field}: {scheme.path.name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(recipe, dict) or not recipe:
        raise UserError(f"{field}: {scheme.path.name} holds no recipe; a recipe is a mapping of stages")


def _environments_built(accelerator: str) -> None:
    for role in ("quantize", "inference"):
        try:
            environments.interpreter(role, accelerator)
        except environments.EnvironmentMissing as missing:
            raise UserError(str(missing)) from None


def _store_writable(root: Path) -> None:
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    if (job.get("runtime_env") or {}).get("working_dir") and root.resolve().is_relative_to(REPOSITORY):
        raise UserError(
            f"storage.root: {root} lies inside the working directory of a Ray job, which Ray deletes; give a folder "
            "that every node reaches, in the experiment or in MSF_STORE"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"storage.root: {root} is not writable ({error.strerror}); choose another folder") from None


def _servable(plan: Plan) -> None:
    for position, variant in enumerate(plan.variants[1:]):
        if variant.left_out and plan.experiment.unservable == "refuse":
            raise UserError(
                f"{plan.experiment.place(position)}: {variant.name!r} cannot be served here: {variant.left_out}; "
                "remove it, or set unservable: leave_out to compare the rest"
            )


def _calibration(experiment: Experiment) -> None:
    """Whether the source is enough for the scheme that asks for most.

    A token is at least one byte of text, so too few bytes are too few tokens; the exact count is
    known once the tokenizer is loaded.
    """
    asked = experiment.calibration
    calibrated = [scheme for scheme in experiment.possible if scheme.needs_calibration]
    if asked is None or not calibrated:
        return
    largest = max(calibrated, key=lambda scheme: asked.for_scheme(scheme).samples)
    calibration = asked.for_scheme(largest)
    field = "calibration.samples" if calibration == asked else f"calibration_samples of scheme {largest.name!r}"
    source = calibration.source
    if not isinstance(source, LocalText):
        return
    if not source.path.is_file():
        raise UserError(f"calibration.source.path: {source.path} is not a file; give a .txt or .jsonl file")
    size = source.path.stat().st_size
    wanted = calibration.samples * (calibration.sequence_length if calibration.packed else 1)
    if size == 0:
        raise UserError(f"calibration.source.path: {source.path} is empty; give a file with text")
    if source.path.suffix == ".jsonl":
        rows = [line for line in source.path.read_text().splitlines() if line.strip()]
        if not calibration.packed and len(rows) < calibration.samples:
            raise UserError(
                f"{field}: {calibration.samples} asked for, {source.path.name} has {len(rows)} rows; "
                "ask for fewer or give a longer file"
            )
        keys = set(yaml.safe_load(rows[0])) if rows else set()
        if not keys & {"text", "messages"}:
            raise UserError(
                f"calibration.source.path: rows of {source.path.name} have neither `text` nor `messages`; add one"
            )
        if "messages" in keys:
            _chat_template(experiment, "calibration.source.path")
    if size < wanted:
        raise UserError(
            f"{field}: {calibration.samples} samples of {calibration.sequence_length} tokens need more "
            f"text than the {size} bytes of {source.path.name}; ask for fewer or give a longer file"
        )


def _chat_template(experiment: Experiment, field: str) -> None:
    model = experiment.model
    if isinstance(model, PathModel) and not checkpoints.has_chat_template(model.path):
        raise UserError(
            f"{field}: needs a chat template, and the tokenizer of {model.path} has none; add chat_template.jinja "
            "or use plain text"
        )


def _task(task: Task, field: str, accelerator: str) -> str:
    """How a task is judged (`configs.metrics.Kind`)."""
    for file in [task.path, *(task.data_files or {}).values()]:
        if file and not file.is_file():
            raise UserError(f"{field}: {file} is not a file; check the path")
    local = task.path or next(iter(TASKS_FOLDER.rglob(f"{task.name}.yaml")), None)
    if local is None:
        _known_to_lm_eval(task, field, accelerator)
    try:
        return judgeable.judged_by(prompts.definitions(task, accelerator), task)
    except yaml.YAMLError as error:
        raise UserError(f"{field}: the task file is not valid YAML: {' '.join(str(error).split())}") from None
    except UserError as error:
        raise UserError(f"{field}: {error}") from None


def _known_to_lm_eval(task: Task, field: str, accelerator: str) -> None:
    known = stock_tasks.kinds(accelerator)
    if task.name not in known:
        local = [path.stem for path in TASKS_FOLDER.rglob("*.yaml")]
        near = difflib.get_close_matches(task.name, [*local, *known], n=3)
        hint = f"nearest names: {', '.join(near)}" if near else f"local tasks: {', '.join(sorted(local))}"
        raise UserError(f"{field}.name: {task.name!r} is no lm-eval task; {hint}")
    if task.data_files and known[task.name] != "task":
        raise UserError(
            f"{field}.data_files: {task.name!r} is a {known[task.name]} of several tasks, whose data differ; name "
            "its tasks one by one, or give a task file of your own as `path`"
        )


def _memory(plan: Plan) -> None:
    hardware, serving = plan.hardware, plan.experiment.serving
    if not hardware.on_cpu:
        if serving.tensor_parallel_size > hardware.gpus:
            raise UserError(
                f"serving.tensor_parallel_size: {serving.tensor_parallel_size} GPUs asked for, this machine has "
                f"{hardware.gpus}; ask for fewer"
            )
        _quantizing_memory(plan)
        return
    if serving.cores and serving.cores > hardware.cores:
        raise UserError(f"serving.cores: {serving.cores} asked for, this machine has {hardware.cores}; ask for fewer")
    engine = memory.serving_host_bytes(_base_bytes(plan), serving, on_cpu=True)
    wanted, held = engine * len(plan.seats.engines), hardware.memory_bytes
    if wanted > held:
        raise UserError(
            f"serving: {len(plan.seats.engines)} engines side by side need about {wanted / memory.GIB:.1f} GiB of "
            f"memory, this machine has {held / memory.GIB:.1f}; lower serving.kv_cache_gib, or give serving.cores "
            f"all {hardware.cores} cores for one engine at a time"
        )
    _longest_request(plan)


def _longest_request(plan: Plan) -> None:
    """On a CPU the KV cache has the size that is asked for; on a GPU it is what the weights leave."""
    serving, model = plan.experiment.serving, sizes.model_of(plan, Store.of(plan.experiment.storage))
    dtype = str(engine_args(plan.experiment, plan.hardware)["dtype"])
    config = model.config if model and model.config else {}
    wanted = memory.kv_cache_bytes(config, serving.max_model_len, dtype)
    if wanted and wanted > serving.kv_cache_gib * memory.GIB:
        raise UserError(
            f"serving.max_model_len: one request of {serving.max_model_len} tokens needs {wanted / memory.GIB:.1f} GiB "
            f"of KV cache, serving.kv_cache_gib gives {serving.kv_cache_gib}; lower the one or raise the other"
        )


def _quantizing_memory(plan: Plan) -> None:
    """A quantizer has its model on one GPU, whole."""
    model, available = plan.experiment.model, plan.hardware.gpu_memory_bytes
    if not isinstance(model, PathModel):
        return
    tensors = checkpoints.tensors(model.path)
    for position, variant in enumerate(plan.variants[1:]):
        if variant.scheme and (wanted := memory.quantizing_gpu_bytes(tensors, variant.scheme)) > available:
            raise UserError(
                f"{plan.experiment.place(position)}: quantizing {variant.name!r} needs about "
                f"{wanted / memory.GIB:.1f} GiB of GPU memory, {plan.hardware.name} has {available / memory.GIB:.1f}; "
                "use a larger GPU or a smaller model"
            )


def _disk(plan: Plan, missing: list[Step]) -> None:
    model = sizes.model_of(plan, Store.of(plan.experiment.storage))
    for one in disk.disks(plan, model, {step.fingerprint for step in missing}):
        if one.bytes > one.free:
            settings = ", ".join(writing.setting for writing in one.writings)
            raise UserError(f"{settings}: the disk is too small: {one}; choose a larger one or fewer schemes")


def _base_bytes(plan: Plan) -> int:
    """Size of the base model's weights: measured where it is at hand, else 0 (not guessed)."""
    model = plan.experiment.model
    if isinstance(model, PathModel):
        return checkpoints.weight_bytes(model.path)
    record = Store.of(plan.experiment.storage).find(plan.base.checkpoint)
    return int(record.result["weight_bytes"]) if record else 0


def check_port_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"serving.port: {port} on {host} cannot be used ({error.strerror}); end what holds it or choose "
                "another with --set serving.port=PORT"
            ) from None


def _tracking_reachable(uri: str) -> None:
    if not uri.startswith(("http://", "https://")):
        return
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"tracking.uri: the MLflow server {uri} is out of reach ({reason}); start it or change tracking.uri"
        ) from None
