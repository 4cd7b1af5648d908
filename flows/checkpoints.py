"""What a checkpoint folder says of itself, read from headers and JSON alone (no torch)."""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.digests import Damaged, Digests, digests, sha256, verify_files
from configs.base import UserError
from configs.schemes import Scheme

_WEIGHTS, _BESIDE_WEIGHTS = ".safetensors", (".json", ".jinja", ".model", ".txt")
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "F8_E4M3": 1}
"""Bytes of one element, by safetensors' word for its dtype."""


@dataclass(frozen=True)
class Tensor:
    """Name, dtype (safetensors' word for it) and shape, from a shard's header."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def config(folder: Path) -> dict[str, Any]:
    """What `config.json` holds.

    Raises:
        Damaged: it is missing or no JSON object.
    """
    return _json_object(folder / "config.json")


def _json_object(file: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(file.read_text())
    except FileNotFoundError:
        raise Damaged(f"{file}: missing") from None
    except ValueError:
        loaded = None
    if not isinstance(loaded, dict):
        raise Damaged(f"{file}: not a JSON object")
    return loaded


def tensors(folder: Path) -> list[Tensor]:
    """Every tensor of a checkpoint.

    Raises:
        Damaged: a header does not parse, a shard is not as long as its header says, or the index names
            a shard or tensor that is not there.
    """
    shards = {shard.name: _header(shard) for shard in sorted(folder.glob("*.safetensors"))}
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        _check_index(index, shards)
    found = [tensor for held in shards.values() for tensor in held]
    if not found:
        raise Damaged(f"{folder}: no safetensors weights")
    return found


def _check_index(index: Path, shards: Mapping[str, list[Tensor]]) -> None:
    """Raise Damaged unless every tensor lies where the index says."""
    places = _json_object(index).get("weight_map")
    if not isinstance(places, dict):
        raise Damaged(f"{index}: no weight_map")
    held = {(tensor.name, shard) for shard, tensors in shards.items() for tensor in tensors}
    for name, shard in sorted(places.items()):
        if shard not in shards:
            raise Damaged(f"{index}: names the shard {shard}, which is missing")
        if (name, shard) not in held:
            raise Damaged(f"{index}: names {name} in {shard}, which does not hold it")


def _header(shard: Path) -> list[Tensor]:
    size = shard.stat().st_size
    try:
        with shard.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length >= size:
                raise ValueError
            header = json.loads(file.read(length))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
        found = [Tensor(name, entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()]
    except (struct.error, ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise Damaged(f"{shard}: not a safetensors file") from None  # any JSON, or none, may stand there
    if size != 8 + length + end:
        raise Damaged(f"{shard}: {size} bytes, its header tells of {8 + length + end}")
    return found


def verify(folder: Path, *, compressed: bool) -> None:
    """Raise Damaged unless the checkpoint is whole by its own headers and index, and its config says how
    it was compressed; `check` compares content too."""
    tensors(folder)
    settings = config(folder)
    if compressed and not isinstance(settings.get("quantization_config"), dict):
        raise Damaged(f"{folder}/config.json: no quantization_config")


def files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file of a checkpoint that a model is loaded from, by name."""
    return digests(folder, names(folder))


def names(folder: Path) -> list[str]:
    """The files of a checkpoint that a model is loaded from."""
    return sorted(path.name for path in folder.iterdir() if path.suffix in (_WEIGHTS, *_BESIDE_WEIGHTS))


def described(folder: Path, *, compressed: bool) -> dict[str, Any]:
    """What a record tells of a checkpoint: `files` and `weight_bytes`.

    Raises:
        Damaged: it is not whole, so it does not count as made.
    """
    verify(folder, compressed=compressed)
    return {"files": files(folder), "weight_bytes": weight_bytes(folder)}


def check(folder: Path, files: Digests, *, compressed: bool) -> None:
    """Raise Damaged unless a checkpoint is whole by itself and the one that `files` tells of."""
    verify(folder, compressed=compressed)
    verify_files(folder, files)


def link(folder: Path, destination: Path) -> None:
    """A checkpoint's files once more, as links: for what lies where only this node has it."""
    destination.mkdir(parents=True)
    for name in names(folder):
        (destination / name).symlink_to((folder / name).resolve())


def weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def digest(folder: Path) -> str:
    """Identity of a model folder that the user owns: small files by content, weights by name, size
    and time of change, so that naming a 100 GB model costs no minute of reading."""
    parts = []
    for path in sorted(folder.iterdir()):
        if path.suffix == _WEIGHTS:
            parts.append(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}")
        elif path.suffix in _BESIDE_WEIGHTS:
            parts.append(f"{path.name} {sha256(path)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def check_model_folder(folder: Path) -> None:
    """Raise UserError unless a folder holds a model that this project can work on."""
    if not folder.is_dir():
        raise UserError(f"model.path: {folder} is not a folder; give one with config.json and safetensors weights")
    if not (folder / "config.json").is_file():
        raise UserError(f"model.path: {folder} has no config.json; give the folder of a saved model")
    if not list(folder.glob("*.safetensors")):
        other = sorted(p.name for pattern in ("*.bin", "*.pt", "*.gguf") for p in folder.glob(pattern))
        hint = f"it holds {other[0]}; only safetensors are loaded, convert it first" if other else "save them there"
        raise UserError(f"model.path: {folder} has no safetensors weights; {hint}")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")):
        raise UserError(f"model.path: {folder} has no tokenizer; save the model's tokenizer beside it")
    try:
        verify(folder, compressed=False)
    except Damaged as damage:
        raise UserError(f"model.path: {damage}; copy or download it again") from None


def has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(json.loads(settings.read_text()).get("chat_template"))


def check_divides(found: list[Tensor], scheme: Scheme, place: str) -> None:
    """Raise UserError where a group of weights does not divide a layer's input.

    Args:
        found: the base model's tensors.
        place: where the experiment asks for the scheme.
    """
    group = scheme.weights_per_scale
    if group is None:
        return
    for name, _, inputs in linear_shapes(found, scheme):
        if inputs % group:
            fitting = [g for g in (256, 128, 64, 32, 16) if inputs % g == 0]
            raise UserError(
                f"{place}.group_size: {group} does not divide the {inputs} inputs of {name}; "
                f"use one of {', '.join(map(str, fitting)) or 'its divisors'} or put the layer into `ignore`"
            )


def linear_shapes(found: list[Tensor], scheme: Scheme) -> list[tuple[str, int, int]]:
    """Name, outputs and inputs of each layer that a scheme quantizes: two-dimensional weights, without
    embeddings and ignored layers."""
    return [
        (tensor.name.removesuffix(".weight"), *tensor.shape)
        for tensor in found
        if tensor.name.endswith(".weight")
        and len(tensor.shape) == 2
        and "embed" not in tensor.name
        and not any(tensor.name.removesuffix(".weight").endswith(name) for name in scheme.ignore)
    ]
