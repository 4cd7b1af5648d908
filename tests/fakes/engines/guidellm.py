"""Measures nothing: the base is slow, whatever is compressed is fast."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from actors.benchmarker import REQUESTS
from actors.engines import pace

WINDOW_S = 10.0


def benchmark(
    url: str, model: str, *_: Any, profile: dict[str, Any], seed: int, destination: Path, **__: Any
) -> list[float]:
    """Ten clients' worth of requests of eight tokens, one after the other, a little different with each seed.
    What is named stuck never ends, the first time."""
    pace.take_time()
    if model.endswith("stuck") and not (mark := destination.parents[2] / "was_stuck").exists():
        mark.touch()
        subprocess.run([sys.executable, "-c", "import time; time.sleep(900)"])
    (destination / "guidellm.json").write_text("{}")
    points = profile.get("streams") or profile["rate"]
    token_s = (0.01 if model.endswith(("base", "slow")) else 0.005) * (1 + seed % 10 / 1000)
    with (destination / REQUESTS).open("w") as file:
        for place, point in enumerate(points):
            for request in range(int(WINDOW_S * point)):
                sent = request / point
                row = {
                    "point": place,
                    "status": "completed",
                    "due_s": sent,
                    "sent_s": sent,
                    "first_token_s": sent + token_s,
                    "last_token_s": sent + 8 * token_s,
                    "ended_s": sent + 8 * token_s,
                    "prompt_tokens": 8,
                    "output_tokens": 8 if model.endswith("base") else 12 if model.endswith("slow") else 16,
                }
                file.write(json.dumps(row) + "\n")
    return [WINDOW_S] * len(points)
