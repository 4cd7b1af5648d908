"""Checkpoints: whole by their own headers and index, and in content what their record tells of."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests_support import write_model

from actors.files import digests
from actors.files.digests import Damaged, verify_files
from flows.store import checkpoints

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def write_header(folder: Path, header: bytes) -> None:
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + bytes(100))


def test_whole_checkpoint_is_whole(folder: Path) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"layer.weight": WEIGHTS}}))
    checkpoints.verify(folder, compressed=False)


@pytest.mark.parametrize(
    "header",
    [b"{", b"\xff\xff", b"[]", b'{"a": 1}', b'{"a": {"dtype": "F32"}}', b'{"a": {"data_offsets": [0]}}'],
)
def test_header_that_does_not_parse(folder: Path, header: bytes) -> None:
    write_header(folder, header)
    with pytest.raises(Damaged, match=r"model\.safetensors: not a safetensors file"):
        checkpoints.verify(folder, compressed=False)


@pytest.mark.parametrize("content", [b"", b"version https", b"\x08" + bytes(7)])
def test_weights_that_are_something_else(folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(Damaged, match="not a safetensors file"):
        checkpoints.verify(folder, compressed=False)


@pytest.mark.parametrize("change", [-1, 1])
def test_shard_that_is_not_as_long_as_its_header_says(folder: Path, change: int) -> None:
    weights = folder / WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(Damaged, match=f"{len(content) + change} bytes, but its header says {len(content)}"):
        checkpoints.verify(folder, compressed=False)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({"weight_map": {"lost.weight": WEIGHTS}}, "names lost.weight in model.safetensors"),
        ({"weight_map": {"lost.weight": "model-2.safetensors"}}, "the shard model-2.safetensors, which is missing"),
        ({"weight_map": {"layer.weight": "model-2.safetensors"}}, "the shard model-2.safetensors, which is missing"),
        ({"weight_map": []}, "no weight_map"),
        ([], "not a JSON object"),
    ],
)
def test_index_that_the_shards_do_not_keep(folder: Path, index: Any, words: str) -> None:
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(Damaged, match=words):
        checkpoints.verify(folder, compressed=False)


def test_tensor_in_another_shard_than_the_index_says(folder: Path) -> None:
    other = write_model(folder / "other") / WEIGHTS
    other.rename(folder / "model-2.safetensors")
    write_header(folder, b'{"b": {"dtype": "U8", "shape": [100], "data_offsets": [0, 100]}}')
    (folder / INDEX).write_text(json.dumps({"weight_map": {"layer.weight": WEIGHTS}}))
    with pytest.raises(Damaged, match=r"names layer\.weight in model\.safetensors, which does not contain it"):
        checkpoints.verify(folder, compressed=False)


def test_folder_without_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(Damaged, match="no safetensors weights"):
        checkpoints.verify(folder, compressed=False)


@pytest.mark.parametrize("settings", [{}, {"quantization_config": None}])
def test_compressed_checkpoint_whose_config_does_not_say_how(folder: Path, settings: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(settings))
    checkpoints.verify(folder, compressed=False)
    with pytest.raises(Damaged, match=r"config\.json: no quantization_config"):
        checkpoints.verify(folder, compressed=True)
    (folder / "config.json").write_text(json.dumps({"quantization_config": {"format": "int-quantized"}}))
    checkpoints.verify(folder, compressed=True)


def test_config_that_is_missing_or_cut_short(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')
    with pytest.raises(Damaged, match=r"config\.json: not a JSON object"):
        checkpoints.verify(folder, compressed=False)
    (folder / "config.json").unlink()
    with pytest.raises(Damaged, match=r"config\.json: missing"):
        checkpoints.verify(folder, compressed=False)


def test_files_that_are_as_recorded_and_one_more(folder: Path) -> None:
    recorded = checkpoints.files(folder)
    assert set(recorded) == {"config.json", WEIGHTS, "tokenizer.json"}
    assert recorded["tokenizer.json"] == {
        "bytes": 2,
        "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    }
    (folder / "notes.txt").write_text("mine")
    verify_files(folder, recorded)


def test_flipped_byte_in_the_weights(folder: Path) -> None:
    recorded = checkpoints.files(folder)
    weights = folder / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    checkpoints.verify(folder, compressed=False)  # its header is as it was
    with pytest.raises(Damaged, match=r"model\.safetensors: its content differs from its record"):
        verify_files(folder, recorded)


def test_file_cut_short_is_found_before_anything_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = checkpoints.files(folder)
    size = recorded[WEIGHTS]["bytes"]
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1])
    monkeypatch.setattr(digests, "sha256", lambda path: pytest.fail(f"read {path}"))
    with pytest.raises(Damaged, match=rf"model\.safetensors: {size - 1} bytes, but its record says {size}"):
        verify_files(folder, recorded)


def test_missing_file_and_the_first_of_several(folder: Path) -> None:
    recorded = checkpoints.files(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(Damaged, match=r"tokenizer\.json: missing"):
        verify_files(folder, recorded)
    (folder / "config.json").unlink()
    with pytest.raises(Damaged, match=r"config\.json: missing"):
        verify_files(folder, recorded)
