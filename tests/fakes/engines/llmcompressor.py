"""Writes a checkpoint that says it is compressed; fails, or dies, where the recipe's ignore list says so."""

import json
import os
from pathlib import Path
from typing import Any

from actors.artifacts import Made
from actors.engines import huggingface, pace


def quantize(checkpoint: Path, destination: Path, *, recipe: dict[str, Any], **_settings: Any) -> Made:
    pace.take_time()
    if "raise" in str(recipe):
        raise ValueError("the calibration went wrong")
    if "die" in str(recipe):
        os._exit(1)
    huggingface.write_checkpoint(destination, {} if "truncated" in str(recipe) else {"quantization_config": {}})
    (destination / "recipe.json").write_text(json.dumps(recipe))
    return Made(reference=huggingface.REFERENCE, seconds={"quantize": 0.0}, peak_device_bytes=0)
