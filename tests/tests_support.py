"""A model folder made of one layer, for tests that only look at it."""

import json
from pathlib import Path


def write_model(folder: Path, inputs: int = 64) -> Path:
    """A whole checkpoint of one linear layer with so many inputs, without a chat template."""
    folder.mkdir(parents=True)
    entry = {"dtype": "F32", "shape": [2, inputs], "data_offsets": [0, 8 * inputs]}
    header = json.dumps({"layer.weight": entry}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8 * inputs))
    (folder / "config.json").write_text('{"model_type": "fake"}')
    (folder / "tokenizer.json").write_text("{}")
    return folder
