"""Measures nothing: the base is slow, whatever is compressed is fast; and what is named long is fastest with
long prompts, and with short ones no faster than what is named slow. Requests in batches of 16 make everybody faster,
and the base most of all."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from actors.artifacts import REQUESTS
from actors.engines import nvml, pace

WINDOW_S = 10.0
METERED_S = 0.3
"""Of a window in which a GPU is watched."""
LONG = 100
"""Tokens of a long prompt."""


def benchmark(
    url: str,
    model: str,
    *_: Any,
    profile: dict[str, Any],
    prompt_tokens: int,
    seed: int,
    destination: Path,
    **__: Any,
) -> list[tuple[float, float]]:
    """Ten clients' worth of requests of eight tokens, one after the other, a little different with each seed.
    What is named stuck never ends, the first time; of what is named idle no request ends."""
    pace.take_time(of_a_step="records" in destination.parts)
    store = next((folder for folder in destination.parents if folder.name == "store"), destination)
    if model.endswith("stuck") and not (mark := store / "was_stuck").exists():
        mark.touch()
        subprocess.run([sys.executable, "-c", "import time; time.sleep(900)"])
    (destination / "guidellm.json").write_text("{}")
    points = profile.get("streams") or profile["rate"]
    tokens = _tokens(model, prompt_tokens)
    token_s = (0.01 if model.endswith(("base", "slow")) else 0.005) * (1 + seed % 10 / 1000)
    with (destination / REQUESTS).open("w") as file:
        for place, point in enumerate(points):
            for request in range(int(WINDOW_S * point)):
                sent = request / point
                row = {
                    "point": place,
                    "status": "unfinished" if model.endswith("idle") else "completed",
                    "due_s": sent,
                    "sent_s": sent,
                    "first_token_s": sent + token_s,
                    "last_token_s": sent + 8 * token_s,
                    "ended_s": sent + 8 * token_s,
                    "prompt_tokens": 8,
                    "output_tokens": tokens,
                }
                file.write(json.dumps(row) + "\n")
    if "metered" not in model:
        return [(0.0, WINDOW_S)] * len(points)
    began = time.time()
    with nvml.under_load():
        time.sleep(METERED_S)
    return [(began, began + METERED_S)] * len(points)


def _tokens(model: str, prompt_tokens: int) -> int:
    """Output tokens of a request."""
    if model.endswith("seqs16"):
        return 24 if "base" in model else 20
    if model.endswith("long"):
        return 24 if prompt_tokens >= LONG else 12
    return 8 if model.endswith("base") else 12 if model.endswith("slow") else 16
