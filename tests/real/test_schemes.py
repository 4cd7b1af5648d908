"""Every scheme's recipe on the real llm-compressor: also those that no CPU serves."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from real_support import on_real_engines

from actors import environments
from configs.base import REPOSITORY
from configs.schemes import Scheme

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

QUANTIZE = """
import json, sys
from pathlib import Path
from actors.engines import llmcompressor

settings = json.loads(sys.argv[1])
checkpoint, destination, log = (Path(settings.pop(name)) for name in ("checkpoint", "destination", "log"))
llmcompressor.quantize(checkpoint, destination, log=log, **settings)
"""
CALIBRATION = {
    "documents": ["Water boils when it is hot enough, and freezes when it is cold enough."] * 4,
    "samples": 4,
    "sequence_length": 16,
    "packed": False,
    "seed": 1,
}


@pytest.mark.parametrize(
    ("settings", "stored"),
    [
        ({"kind": "int8-w8a8"}, "int-quantized"),
        ({"kind": "int4-w4a16", "group_size": 64}, "pack-quantized"),
        ({"kind": "int4-w4a16", "group_size": 64, "algorithm": "awq"}, "pack-quantized"),
        ({"kind": "int4-w4a16", "group_size": 64, "algorithm": "rtn"}, "pack-quantized"),
        ({"kind": "w8a16", "group_size": 64}, "pack-quantized"),
        ({"kind": "fp8-dynamic"}, "float-quantized"),
        ({"kind": "nvfp4a16"}, "nvfp4-pack-quantized"),
    ],
)
def test_recipe_makes_a_compressed_checkpoint(
    settings: dict[str, Any], stored: str, tiny_model: Path, tmp_path: Path
) -> None:
    scheme = TypeAdapter(Scheme).validate_python(settings)
    asked = {
        "checkpoint": str(tiny_model),
        "destination": str(tmp_path / "made"),
        "recipe": scheme.recipe(),
        "calibration": CALIBRATION if scheme.needs_calibration else None,
        "dtype": "float32",
        "declared_weight_bits": scheme.declared_weight_bits,
        "log": str(tmp_path / "log"),
    }
    python = environments.interpreter("quantize", "cpu")
    command = [python, "-c", QUANTIZE, json.dumps(asked)]
    done = subprocess.run(command, cwd=REPOSITORY, env=on_real_engines(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    config = json.loads((tmp_path / "made" / "config.json").read_text())
    assert config["quantization_config"]["format"] == stored
