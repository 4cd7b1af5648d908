"""Measures nothing: the base is slow, whatever is compressed is fast."""

from pathlib import Path
from typing import Any


def benchmark(url: str, model: str, *_: Any, profile: dict[str, Any], destination: Path, **__: Any) -> list[Any]:
    (destination / "guidellm.json").write_text("{}")
    speed = 10.0 if model == "base" else 20.0
    latencies = {f"{n}_{p}_ms": 100 / speed for n in ("ttft", "itl", "tpot") for p in ("p50", "p95", "p99")}
    points = profile.get("streams") or profile["rate"]
    return [{"requests": 5, "errors": 0, "output_tokens_per_second": speed * point, **latencies} for point in points]
