"""What a checkpoint folder says of itself, read from headers and JSON alone (no torch)."""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from actors.artifacts import Checkpoint, Made
from actors.files.digests import Damaged, Digests, digests, sha256, verify_files
from configs.base import UserError
from configs.schemes import Scheme

CHECKPOINT = "checkpoint"
"""In the folder of a step that makes one."""

_WEIGHTS, _BESIDE_WEIGHTS = ".safetensors", (".json", ".jinja", ".model", ".txt")
_INDEX = "model.safetensors.index.json"
_LONGEST_HEADER = 20_000_000  # bytes; 100,000 tensors have 15 million. More would fill memory before it is refused
_LONGEST_JSON = 48 << 20  # the largest tokenizer.json seen has 33 MB
DTYPE_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
}
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
    return json_object(folder / "config.json")


def json_object(file: Path) -> dict[str, Any]:
    """What a JSON file holds.

    Raises:
        Damaged: it is missing or no JSON object.
    """
    try:
        if file.stat().st_size > _LONGEST_JSON:
            raise Damaged(f"{file}: larger than {_LONGEST_JSON >> 20} MiB")
        loaded = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise Damaged(f"{file}: missing") from None
    except OSError as error:
        raise Damaged(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        loaded = None
    if not isinstance(loaded, dict):
        raise Damaged(f"{file}: not a JSON object")
    return loaded


def tensors(folder: Path) -> list[Tensor]:
    """Every tensor of a checkpoint.

    Raises:
        Damaged: a header does not parse, a tensor does not fill its bytes, a shard is not as long as its header says,
            or the index names a shard or tensor that is not there.
    """
    by_shard = {shard.name: _header(shard) for shard in shards(folder)}
    if (folder / _INDEX).is_file():
        _check_index(folder / _INDEX, by_shard)
    of_all = [tensor for of_shard in by_shard.values() for tensor in of_shard]
    if not of_all:
        raise Damaged(f"{folder}: no safetensors weights")
    return of_all


def shards(folder: Path) -> list[Path]:
    """The files of weights that a checkpoint is loaded from: those that its index names, or all where it has none.
    What lies beside them, as Mistral's consolidated.safetensors does, are the same weights once more.

    Raises:
        Damaged: the index names a shard that is missing.
    """
    index = folder / _INDEX
    if not index.is_file():
        return sorted(folder.glob(f"*{_WEIGHTS}"))
    named = _weight_map(index).values()
    for shard in named:
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(_WEIGHTS):
            raise Damaged(f"{index}: names {shard!r:.60} as a shard")
        if not (folder / shard).exists():
            raise Damaged(f"{index}: names the shard {shard}, which is missing")
    return [folder / shard for shard in sorted(set(named))]


def _weight_map(index: Path) -> dict[str, Any]:
    shards = json_object(index).get("weight_map")
    if not isinstance(shards, dict):
        raise Damaged(f"{index}: no weight_map")
    return shards


def _check_index(index: Path, shards: Mapping[str, list[Tensor]]) -> None:
    """Raise Damaged unless every tensor lies where the index says."""
    held = {(tensor.name, shard) for shard, tensors in shards.items() for tensor in tensors}
    for name, shard in sorted(_weight_map(index).items()):
        if (name, shard) not in held:
            raise Damaged(f"{index}: names {name} in {shard}, which does not contain it")


def _header(shard: Path) -> list[Tensor]:
    """The tensors of a file, each of which fills its own bytes, all bytes taken and none twice.

    The layout is that of the safetensors format: 8 bytes with the header's length, the header in JSON, the data.
    """
    try:
        size = shard.stat().st_size
        with shard.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length >= size:
                raise ValueError("it ends before its header")
            if length > _LONGEST_HEADER:
                raise Damaged(f"{shard}: a header of {length:,} bytes; at most {_LONGEST_HEADER:,}")
            header = json.loads(file.read(length), object_pairs_hook=_once)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        spans = sorted((*map(int, entry["data_offsets"]), name) for name, entry in entries.items())
        tensors = [
            Tensor(name, str(entry["dtype"]), tuple(map(_whole, entry["shape"]))) for name, entry in entries.items()
        ]
    except OSError as error:
        raise Damaged(f"{shard}: cannot be read ({error.strerror})") from None
    except (struct.error, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, OverflowError):
        raise Damaged(f"{shard}: not a safetensors file") from None  # any JSON, or none, may stand there
    end = max((end for _, end, _ in spans), default=0)
    if size != 8 + length + end:
        raise Damaged(f"{shard}: {size} bytes, but its header says {8 + length + end}")
    needed = {tensor.name: _bytes(shard, tensor) for tensor in tensors}
    at = 0
    for begin, end, name in spans:
        if begin != at or end - begin != needed[name]:
            raise Damaged(f"{shard}: {name} does not fill its bytes")
        at = end
    return tensors


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(entries := dict(pairs)) != len(pairs):
        raise ValueError("a name appears twice")
    return entries


def _whole(number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError("not the length of an axis")
    return number


def _bytes(shard: Path, tensor: Tensor) -> int:
    if tensor.dtype not in DTYPE_BYTES:
        raise Damaged(f"{shard}: {tensor.name} has the dtype {tensor.dtype!r:.20}, which this project does not know")
    return prod(tensor.shape) * DTYPE_BYTES[tensor.dtype]


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
    beside = {path.name for path in folder.iterdir() if path.suffix in _BESIDE_WEIGHTS}
    return sorted(beside | {path.name for path in shards(folder)})


def described(folder: Path, made: Made, *, compressed: bool) -> Checkpoint:
    """What a record tells of a checkpoint: what its quantizer says, and what lies in its folder.

    Raises:
        Damaged: it is not whole, so it does not count as made.
    """
    verify(folder, compressed=compressed)
    return Checkpoint(**vars(made), files=files(folder), weight_bytes=weight_bytes(folder))


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
    return sum(path.stat().st_size for path in shards(folder))


def digest(source: Path) -> str:
    """Identity of a file or a model folder that the user owns. Files count by their content, but a folder's weights by
    name, size and time of change, so that naming a 100 GB model costs no minute of reading."""
    if source.is_file():
        return sha256(source)[:16]
    parts = []
    for path in sorted(source.iterdir()):
        if path.suffix == _WEIGHTS:
            parts.append(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}")
        elif path.suffix in _BESIDE_WEIGHTS:
            parts.append(f"{path.name} {sha256(path)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(json_object(settings).get("chat_template"))


def check_divides(tensors: list[Tensor], scheme: Scheme, yaml_path: str) -> None:
    """Raise UserError where a group of weights does not divide a layer's input.

    Args:
        tensors: of the base model.
        yaml_path: where the experiment asks for the scheme.
    """
    group = scheme.weights_per_scale
    if group is None:
        return
    for name, _, inputs in linear_shapes(tensors, scheme):
        if inputs % group:
            fitting = [g for g in (256, 128, 64, 32, 16) if inputs % g == 0]
            raise UserError(
                f"{yaml_path}.group_size: {group} does not divide the {inputs} inputs of {name}; "
                f"use one of {', '.join(map(str, fitting)) or 'its divisors'} or put the layer into `ignore`"
            )


def linear_shapes(tensors: list[Tensor], scheme: Scheme) -> list[tuple[str, int, int]]:
    """Name, outputs and inputs of each layer that a scheme quantizes: two-dimensional weights, without
    embeddings and ignored layers."""
    return [
        (tensor.name.removesuffix(".weight"), *tensor.shape)
        for tensor in tensors
        if tensor.name.endswith(".weight")
        and len(tensor.shape) == 2
        and "embed" not in tensor.name
        and not any(tensor.name.removesuffix(".weight").endswith(name) for name in scheme.ignore)
    ]
