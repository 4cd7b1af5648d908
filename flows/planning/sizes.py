"""What every variant of a plan needs of memory and disk, as far as the base model's shapes are at hand."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.artifacts import Checkpoint
from configs.model import HubModel, PathModel
from configs.model import Model as ModelSource
from configs.schemes import Scheme
from flows.planning import hub, hub_models, memory
from flows.planning.engine_arguments import engine_args
from flows.planning.plan import Plan
from flows.planning.variant_plan import VariantPlan
from flows.store import checkpoints
from flows.store.checkpoints import CHECKPOINT
from flows.store.records import Record, Store

_UNQUANTIZED = 0.2
"""Share of a model's weights that no scheme touches, where its shapes are not known: 0.13 of Llama-3.1-8B are its
embeddings and its head, 0.21 of the embedded 135M model."""


@dataclass(frozen=True)
class Sizes:
    """Bytes; None where the shapes are not known yet."""

    checkpoint: int | None
    quantize: int | None
    """Host memory on a CPU, GPU memory on a GPU; None of the base too, which nobody quantizes."""
    serve: int | None
    """What the engine cannot do without; so much is needed to evaluate too, as the engine answers."""


@dataclass(frozen=True)
class Model:
    """The base model as it is known before a run."""

    bytes: int
    tensors: tuple[checkpoints.Tensor, ...] = ()
    config: dict[str, Any] | None = None

    @property
    def parameters(self) -> float:
        """Weights; by their bytes where the shapes are not at hand."""
        return sum(memory.elements(tensor) for tensor in self.tensors) or self.bytes / 2


def model_of(plan: Plan, store: Store) -> Model | None:
    """The base model; None where nothing is known before it has been fetched."""
    return source_of(plan.base, store)


def source_of(variant: VariantPlan, store: Store) -> Model | None:
    """What a checkpoint is that is not made here: from its folder, its record or the hub's local cache; its size alone
    from the hub; None where nothing is known before it has been fetched."""
    record = store.find(variant.checkpoint)
    with _folder(variant.model, record, store) as folder:
        if folder is not None:
            shapes = tuple(checkpoints.tensors(folder))
            return Model(checkpoints.weight_bytes(folder), shapes, checkpoints.config(folder))
    if record is not None:
        return Model(record.result.weight_bytes)
    model = variant.model
    size = hub_models.model_bytes(model.repository, model.revision) if isinstance(model, HubModel) else None
    return Model(size) if size else None


@contextlib.contextmanager
def _folder(model: ModelSource | None, record: Record[Checkpoint] | None, store: Store) -> Iterator[Path | None]:
    """Where a model's shapes can be read for the length of the block; nothing is pulled for a plan."""
    if isinstance(model, PathModel):
        yield model.path
    elif record is None:
        yield hub.cached_model(model.repository, model.revision) if isinstance(model, HubModel) else None
    elif kept := record.result.folder:
        yield Path(kept) if (Path(kept) / "config.json").is_file() else None
    elif store.is_shared:
        with record.files.held() as folder:
            yield folder / CHECKPOINT
    else:
        yield None


def sizes(plan: Plan, variant: VariantPlan, model: Model | None, store: Store) -> Sizes:
    """What one variant needs. The size of a checkpoint that is there is measured."""
    if variant.scheme is None and variant.checkpoint != plan.base.checkpoint:
        model = source_of(variant, store)
    record, scheme = store.find(variant.checkpoint), variant.scheme
    written = record.result.weight_bytes if record else None
    made = written or (checkpoint_bytes(scheme, model) if model else None)
    if model is None or not model.tensors:
        return Sizes(made, None, None)
    tensors = list(model.tensors)
    quantize = None
    if scheme:
        if plan.hardware.on_cpu:
            dtype = variant.checkpoint.settings["dtype"]
            quantize = memory.quantizing_host_bytes(tensors, scheme, dtype, on_cpu=True)
        else:
            quantize = memory.quantizing_gpu_bytes(tensors, scheme)
    return Sizes(made, quantize, _serving(plan, variant, model))


def checkpoint_bytes(scheme: Scheme | None, model: Model) -> int:
    """Size of a checkpoint's weights before it is made: by the base model's shapes, or without them by its size."""
    if scheme is None:
        return model.bytes
    if model.tensors:
        return memory.compressed_bytes(list(model.tensors), scheme)
    kept = _UNQUANTIZED * model.bytes
    return int(kept + (model.bytes - kept) * scheme.bits_per_weight / 16)


def _serving(plan: Plan, variant: VariantPlan, model: Model) -> int:
    serving, dtype = variant.serving, engine_args(variant.serving, plan.hardware)["dtype"]
    by_others = variant.scheme is None and bool((model.config or {}).get("quantization_config"))
    weights = model.bytes if by_others else memory.served_bytes(list(model.tensors), variant.scheme, str(dtype))
    if plan.hardware.on_cpu:
        return memory.serving_host_bytes(weights, serving, on_cpu=True)
    longest = memory.longest_request_bytes(model.config or {}, serving, str(dtype))
    return memory.serving_gpu_bytes(weights, longest or 0)
