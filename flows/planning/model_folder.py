"""Whether a folder holds a model that this project can work on, by its files' own words (no torch).

An engine would otherwise report the same faults, after minutes and in its own words.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.files.digests import Damaged
from configs.base import UserError
from configs.serving import Draft
from flows.planning import library_sources
from flows.store import checkpoints, likeness
from flows.store.checkpoints import Tensor

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
_OBJECTS = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
_COUNTS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size")
_DTYPES = {"F32", "F16", "BF16", "F64", "I64", "I32"}
_LAYER = re.compile(r"model\.layers\.(\d+)\.")
_EMBEDDING = "model.embed_tokens.weight"


def check(folder: Path, accelerator: str, field: str = "model.path", *, to_be_quantized: bool = True) -> None:
    """Raise UserError unless a folder holds a model that can be served, and quantized.

    Args:
        field: where the experiment asks for it.
        to_be_quantized: False of one that is only served, and may be quantized already.
    """
    if not folder.is_dir():
        raise UserError(f"{field}: {folder} is not a folder; give one with config.json and safetensors weights")
    if not (folder / "config.json").is_file():
        raise UserError(f"{field}: {folder} has no config.json; give the folder of a saved model")
    _check_weights_are_safetensors(folder, field)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise UserError(f"{field}: {folder} has no tokenizer; save the model's tokenizer beside it")
    try:
        objects = {name: checkpoints.json_object(folder / name) for name in _OBJECTS if (folder / name).is_file()}
        tensors = checkpoints.tensors(folder)
    except Damaged as damage:
        raise UserError(f"{field}: {damage}; copy or download it again") from None
    for why in (
        _needs_code(objects, accelerator),
        _is_quantized(objects["config.json"]) if to_be_quantized else None,
        _cannot_be_served(objects["config.json"], accelerator),
        _odd_numbers(objects["config.json"]),
        _odd_dtypes(tensors) if to_be_quantized else None,
        _odd_tensors(objects["config.json"], tensors),
        _odd_tokenizer(objects.get("tokenizer.json", {}), tensors),
    ):
        if why:
            raise UserError(f"{field}: {folder}: {why}")


def check_draft(draft: Draft, base: Path | None, accelerator: str, field: str) -> None:
    """Raise UserError unless a folder holds a draft that can guess for the base model.

    Args:
        base: the base model's folder, if it is known; a draft model has its tokenizer.
        field: where the experiment asks for it.
    """
    folder = draft.path
    if draft.kind == "draft_model":
        check(folder, accelerator, field, to_be_quantized=False)
        if base is not None and "tokenizer" in likeness.unlike(base, folder):
            raise UserError(
                f"{field}: {folder} has another tokenizer than the base, whose tokens it must guess; give a draft of "
                "the same family"
            )
        return
    if not (folder / "config.json").is_file():
        raise UserError(f"{field}: {folder} has no config.json; give the folder of saved weights")
    _check_weights_are_safetensors(folder, field)
    try:
        why = _needs_code({"config.json": checkpoints.config(folder)}, accelerator)
    except Damaged as damage:
        raise UserError(f"{field}: {damage}; copy or download it again") from None
    if why:
        raise UserError(f"{field}: {folder}: {why}")


def _check_weights_are_safetensors(folder: Path, field: str) -> None:
    """transformers looks for these names, and takes a pickle where they are missing."""
    if any((folder / name).exists() or (folder / name).is_symlink() for name in _WEIGHTS):
        return
    other = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    hint = f"it holds {other[0]}; only safetensors are loaded, convert it first" if other else "save them there"
    named = f"no {' or '.join(_WEIGHTS)}" if list(folder.glob("*.safetensors")) else "no safetensors weights"
    raise UserError(f"{field}: {folder} has {named}; {hint}")


def _needs_code(objects: dict[str, dict[str, Any]], accelerator: str) -> str | None:
    """Code of the model's own is never run. Many that bring some need none: transformers has a class of the same name
    for their type, which it takes then."""
    for name, settings in objects.items():
        if "auto_map" in settings and not (name == "config.json" and _is_native(settings, accelerator)):
            return (
                f"{name} needs its own code (auto_map), which never runs here, and transformers does not support it by "
                "itself; choose a model that it supports"
            )
    return None


def _is_native(config: dict[str, Any], accelerator: str) -> bool:
    native = library_sources.native_classes(accelerator).get(str(config.get("model_type")))
    return native is not None and config.get("architectures") == [native]


def _is_quantized(config: dict[str, Any]) -> str | None:
    for key in ("quantization_config", "compression_config"):
        if config.get(key):
            how = config[key].get("quant_method", key) if isinstance(config[key], dict) else key
            return f"is quantized already ({how!s:.40}); give the original"
    return None


def _cannot_be_served(config: dict[str, Any], accelerator: str) -> str | None:
    named = config.get("architectures")
    if named is None:
        return None
    if not isinstance(named, list) or not named or not all(isinstance(name, str) for name in named):
        return f"config.json: architectures is {named!r:.60}; it must be a list of names"
    served = library_sources.generating_architectures(accelerator)
    if served and not served & set(named):
        return f"{named[0]:.80} is not a model with which vLLM generates text; choose one that it supports"
    return None


def _odd_numbers(config: dict[str, Any]) -> str | None:
    for key in _COUNTS:
        value = config.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            return f"config.json: {key} is {value!r:.40}; it must be a whole number above 0"
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if hidden and heads and not config.get("head_dim") and hidden % heads:
        return f"config.json: hidden_size {hidden} is not divisible by num_attention_heads {heads}; check both"
    return None


def _odd_dtypes(tensors: Sequence[Tensor]) -> str | None:
    for tensor in tensors:
        if tensor.dtype not in _DTYPES:
            return f"{tensor.name} is of dtype {tensor.dtype}, which this project does not quantize; give the original"
    return None


def _odd_tensors(config: dict[str, Any], tensors: Sequence[Tensor]) -> str | None:
    """What of the weights contradicts the configuration, as far as both say it in the usual words."""
    layers = config.get("num_hidden_layers")
    held = {int(match[1]) for tensor in tensors if (match := _LAYER.match(tensor.name))}
    most = (layers or 0) + (config.get("num_nextn_predict_layers") or 0)
    if layers and held and not layers <= len(held) <= most:
        return f"config.json says {layers} layers, the weights have {len(held)}; they do not belong together"
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    wanted = (config.get("vocab_size"), config.get("hidden_size"))
    embedding = shapes.get(_EMBEDDING)
    if embedding is not None and None not in wanted and embedding != wanted:
        return (
            f"config.json says {wanted[0]} tokens and a hidden size of {wanted[1]}, {_EMBEDDING} is {list(embedding)}; "
            "they do not belong together"
        )
    return None


def _odd_tokenizer(tokenizer: dict[str, Any], tensors: Sequence[Tensor]) -> str | None:
    """A tokenizer whose own vocabulary goes beyond the embedding is another model's."""
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    rows = next((tensor.shape[0] for tensor in tensors if tensor.name == _EMBEDDING and tensor.shape), None)
    if not isinstance(vocabulary, dict | list) or not vocabulary or rows is None:
        return None
    if isinstance(vocabulary, list):
        last = len(vocabulary) - 1
    else:
        last = max((number for number in vocabulary.values() if isinstance(number, int)), default=0)
    if last >= rows:
        return f"tokenizer.json has a token {last}, the model {rows} tokens; they do not belong together"
    return None
