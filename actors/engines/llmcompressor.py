"""llm-compressor: one recipe applied to one checkpoint, in this process.

Its session is global, so a process quantizes once. Its chatter goes to a log file.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from compressed_tensors.offload import update_offload_parameter
from compressed_tensors.quantization import QuantizationStatus
from compressed_tensors.quantization.lifecycle.forward import forward_quantize
from safetensors import safe_open

from actors.artifacts import Made
from actors.engines import huggingface

_FLOATS = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


def quantize(
    checkpoint: Path,
    destination: Path,
    *,
    recipe: dict[str, Any],
    calibration: dict[str, Any] | None,
    dtype: str,
    declared_weight_bits: int | None,
    log: Path,
) -> Made:
    """Write the compressed checkpoint and say what it took.

    Args:
        recipe: an llm-compressor recipe as plain data.
        calibration: `documents` and the settings of `huggingface.calibration_tokens`; None for a
            data-free recipe.
        dtype: what calibration computes in. What stays unquantized is saved as it was.
        declared_weight_bits: what the checkpoint shall say of its weights' bits, where the recipe
            uses fewer of them than the format has.
    """
    os.environ["LLM_COMPRESSOR_LOG_FILE"] = str(log)
    os.environ["LLM_COMPRESSOR_LOG_FILE_LEVEL"] = "INFO"
    os.environ["LLM_COMPRESSOR_LOG_LEVEL"] = "ERROR"
    started = time.monotonic()
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.pipelines.cache import IntermediatesCache

    if not torch.accelerator.is_available():
        # AWQ pins activations for a faster copy to a device, which raises where there is none (0.14).
        IntermediatesCache.pin_memory = _pin_nothing
    model, tokenizer = huggingface.load(checkpoint, dtype)
    stored = _stored_dtypes(checkpoint)
    loaded = time.monotonic()
    data: dict[str, Any] = {}
    if calibration is not None:
        sequences = huggingface.calibration_tokens(tokenizer, **calibration)
        data = {
            "dataset": Dataset.from_list([{"input_ids": s, "attention_mask": [1] * len(s)} for s in sequences]),
            "num_calibration_samples": len(sequences),
            "max_seq_length": calibration["sequence_length"],
            "shuffle_calibration_samples": False,
        }
    # Modifiers work in the order of the recipe: SmoothQuant after GPTQ ruins the model.
    oneshot(model=model, recipe=yaml.safe_dump(recipe, sort_keys=False), **data)
    quantized = time.monotonic()
    _round_scales(model, next(iter(stored.values())))
    with _computing_as_served(model):  # while it is still in memory
        answers = huggingface.reference(model, tokenizer)
    _restore_dtypes(model, stored)
    model.save_pretrained(destination, save_compressed=True)
    tokenizer.save_pretrained(destination)
    if declared_weight_bits is not None:
        _declare_weight_bits(destination / "config.json", declared_weight_bits)
    saved = time.monotonic()
    return Made(
        reference=answers,
        seconds={"load": loaded - started, "quantize": quantized - loaded, "reference_and_save": saved - quantized},
        peak_device_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
    )


def _pin_nothing(*_: Any) -> None:
    """Activations stay where they are."""


def _declare_weight_bits(config: Path, bits: int) -> None:
    content = json.loads(config.read_text())
    for group in content["quantization_config"]["config_groups"].values():
        group["weights"]["num_bits"] = bits
    config.write_text(json.dumps(content, indent=2) + "\n")


def _round_scales(model: torch.nn.Module, stored: torch.dtype) -> None:
    """Give every scale the value that it will have in the file, where it is stored as `stored`.

    Of two forward passes whose scales differ in the last bits of bfloat16, an INT8 model rounds
    activations differently, and the reference would be of another model than the saved one.
    """
    for name, tensor in model.named_parameters():
        if name.endswith("_scale"):
            tensor.data = tensor.data.to(stored).to(tensor.dtype)


@contextmanager
def _computing_as_served(model: torch.nn.Module) -> Iterator[None]:
    """Let forward passes compute what vLLM will compute from the saved checkpoint.

    Weights are rounded once, instead of in every pass (4 s instead of 72 s for the reference answers
    of a 135M model; rounding is idempotent, so what is saved stays the same). INT8 activations are
    rounded with vLLM's scale, max/127, where compressed-tensors has max/127.5: on a small model
    without SmoothQuant that alone moved token log-probabilities by 0.30 nats on average, which would
    hide a broken kernel.
    """
    with ExitStack() as undo:
        for module in model.modules():
            scheme = getattr(module, "quantization_scheme", None)
            if scheme is None:
                continue
            if scheme.weights is not None:
                rounded = forward_quantize(module, module.weight.data, "weight", scheme.weights)
                update_offload_parameter(module, "weight", rounded)
            undo.callback(setattr, module, "quantization_status", module.quantization_status)
            module.quantization_status = QuantizationStatus.COMPRESSED
            activations = scheme.input_activations
            if activations is not None and activations.num_bits == 8 and activations.type == "int":
                module.quantization_enabled = False
                undo.callback(delattr, module, "quantization_enabled")
                undo.callback(module.register_forward_pre_hook(_round_int8_per_token).remove)
        yield


def _round_int8_per_token(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    values, *others = inputs
    scale = values.float().abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / 127
    return ((values / scale).round().clamp(-128, 127).mul(scale).to(values.dtype), *others)


def _stored_dtypes(checkpoint: Path) -> dict[str, torch.dtype]:
    """The dtype of every tensor in the checkpoint, from the headers alone."""
    dtypes: dict[str, torch.dtype] = {}
    for shard in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(shard, framework="pt") as tensors:
            kinds = {name: tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
            dtypes |= {name: _FLOATS[kind] for name, kind in kinds.items() if kind in _FLOATS}
    return dtypes


def _restore_dtypes(model: torch.nn.Module, stored: dict[str, torch.dtype]) -> None:
    """Cast floating-point tensors back to the dtype that the source checkpoint holds.

    Calibration in float32 would otherwise double the size of embeddings, norms and scales.
    """
    common = next(iter(stored.values()))
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.dtype in _FLOATS.values():
            tensor.data = tensor.data.to(stored.get(name, common))
    model.config.dtype = common
