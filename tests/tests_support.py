"""What several tests need: a model folder made of one layer, and a port."""

import json
import socket
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


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
