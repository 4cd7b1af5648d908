"""What a plan asks of the machine, or the largest node, and whether that has it: kernels, cores, memory, disk."""

import difflib
from typing import Any

from configs.base import UserError
from configs.experiment import section
from configs.model import PathModel
from flows.planning import disk, library_sources, memory, sizes
from flows.planning.engine_arguments import engine_args
from flows.planning.plan import Plan
from flows.planning.variant_plan import VariantPlan
from flows.store import checkpoints
from flows.store.records import Store
from flows.store.results import Result
from flows.store.steps import Step


def check(plan: Plan) -> None:
    """Raise UserError for the first thing that it has not; the disk is looked at by itself."""
    _servable(plan)
    _engine_arguments(plan)
    _tensor_parallel(plan)
    _cores(plan)
    _memory(plan)


def _servable(plan: Plan) -> None:
    for variant in plan.variants:
        if variant.left_out and variant is plan.baseline:
            raise UserError(
                f"baseline: {variant.name!r} cannot be served here: {variant.left_out}; name another variant"
            )
        if variant.left_out and plan.experiment.unservable == "refuse":
            field = plan.experiment.yaml_path(variant.name)
            raise UserError(
                f"{field}: {variant.name!r} cannot be served here: {variant.left_out}; remove it, or set "
                "unservable: leave_out to compare the rest"
            )


def _engine_arguments(plan: Plan) -> None:
    arguments = library_sources.engine_arguments(plan.hardware.accelerator)
    for variant in plan.variants:
        for name in variant.serving.engine_args:
            if arguments and name not in arguments:
                near = difflib.get_close_matches(name, arguments, n=1)
                hint = f"did you mean {near[0]}?" if near else "its documentation lists them"
                field = _field(plan, variant, "engine_args", name)
                raise UserError(f"{field}: not an argument of vLLM's engine; {hint}")


def _field(plan: Plan, variant: VariantPlan, *keys: str) -> str:
    """Where the experiment sets a variant's engine setting: the variant's own section, or `serving`."""
    own = next((one.changes for one in plan.experiment.variants if one.name == variant.name), {})
    of_all: Any = plan.experiment.serving
    if keys[0] in own and getattr(of_all, keys[0]) != own[keys[0]]:
        return ".".join((plan.experiment.yaml_path(variant.name), "serving", *keys))
    return ".".join(("serving", *keys))


def _cores(plan: Plan) -> None:
    """Nothing may ask for more than the machine, or the largest node, has."""
    hardware, experiment = plan.hardware, plan.experiment
    cores_by_field = {"quantizing.cores": experiment.quantizing.cores}
    if hardware.on_cpu:
        cores_by_field["serving.cores"] = experiment.serving.cores
        cores_by_field |= {
            f"{section(name)}.client_cores": load.client_cores for name, load in experiment.loads.items()
        }
    for field, cores in cores_by_field.items():
        if cores and cores > hardware.cores:
            raise UserError(f"{field}: {cores} requested, this machine has {hardware.cores}; request fewer")


def _tensor_parallel(plan: Plan) -> None:
    """An engine is on one node, and its attention heads are shared out evenly among its GPUs."""
    hardware, store = plan.hardware, Store.of(plan.experiment.storage)
    for variant in plan.variants:
        if (size := variant.serving.tensor_parallel_size) == 1:
            continue
        field = _field(plan, variant, "tensor_parallel_size")
        if hardware.on_cpu:
            raise UserError(f"{field}: {size} on a CPU, where one process has all cores of an engine; use 1")
        if size > hardware.gpus:
            raise UserError(f"{field}: {size} GPUs requested, this machine has {hardware.gpus}; request fewer")
        model = sizes.source_of(variant if variant.model else plan.base, store)
        heads = (model.config if model and model.config else {}).get("num_attention_heads")
        if isinstance(heads, int) and heads % size:
            raise UserError(
                f"{field}: {heads} attention heads cannot be shared out evenly among {size} GPUs; use a number that "
                f"divides {heads}"
            )


def _memory(plan: Plan) -> None:
    hardware = plan.hardware
    if not hardware.on_cpu:
        _quantizing_memory(plan)
        return
    largest = max((variant.serving for variant in plan.variants), key=lambda one: one.kv_cache_gib)
    engine = memory.serving_host_bytes(_base_bytes(plan), largest, on_cpu=True)
    wanted, held = engine * len(plan.slots.engines), hardware.memory_bytes
    if wanted > held:
        raise UserError(
            f"serving: {len(plan.slots.engines)} engines side by side need about {wanted / memory.GIB:.1f} GiB of "
            f"memory, this machine has {held / memory.GIB:.1f}; lower serving.kv_cache_gib, or set serving.cores "
            f"to all {hardware.cores} cores for one engine at a time"
        )
    _longest_request(plan)


def _longest_request(plan: Plan) -> None:
    """On a CPU the KV cache has the size that the experiment sets; on a GPU it is what the weights leave."""
    model = sizes.model_of(plan, Store.of(plan.experiment.storage))
    config = model.config if model and model.config else {}
    for variant in plan.variants:
        serving, dtype = variant.serving, str(engine_args(variant.serving, plan.hardware)["dtype"])
        wanted = memory.longest_request_bytes(config, serving, dtype)
        if wanted and wanted > serving.kv_cache_gib * memory.GIB:
            raise UserError(
                f"{_field(plan, variant, 'max_model_len')}: one request of {serving.max_model_len} tokens needs "
                f"{wanted / memory.GIB:.1f} GiB of KV cache, serving.kv_cache_gib gives {serving.kv_cache_gib}; lower "
                "the one or raise the other"
            )


def _quantizing_memory(plan: Plan) -> None:
    """A quantizer has its model on one GPU, whole."""
    model, available = plan.experiment.model, plan.hardware.gpu_memory_bytes
    if not isinstance(model, PathModel):
        return
    tensors = checkpoints.tensors(model.path)
    for variant in plan.variants[1:]:
        if variant.scheme and (wanted := memory.quantizing_gpu_bytes(tensors, variant.scheme)) > available:
            raise UserError(
                f"{plan.experiment.yaml_path(variant.name)}: quantizing {variant.name!r} needs about "
                f"{wanted / memory.GIB:.1f} GiB of GPU memory, {plan.hardware.name} has {available / memory.GIB:.1f}; "
                "use a larger GPU or a smaller model"
            )


def check_disk(plan: Plan, missing: list[Step[Result]]) -> None:
    model = sizes.model_of(plan, Store.of(plan.experiment.storage))
    for file_system in disk.disks(plan, model, {step.fingerprint for step in missing}):
        if file_system.bytes > file_system.free:
            settings = ", ".join(writing.setting for writing in file_system.writings)
            raise UserError(f"{settings}: the disk is too small: {file_system}; choose a larger one or fewer schemes")


def _base_bytes(plan: Plan) -> int:
    """Size of the base model's weights: measured where it is at hand, else 0 (not guessed)."""
    model = plan.experiment.model
    if isinstance(model, PathModel):
        return checkpoints.weight_bytes(model.path)
    record = Store.of(plan.experiment.storage).find(plan.base.checkpoint)
    return record.result.weight_bytes if record else 0
