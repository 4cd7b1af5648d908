"""GuideLLM: one grid of load points against one served variant, its report read through its own classes.

Prompts are synthetic text of an exact token count from a fixed seed, sent as plain completions, so
that every variant gets the same prompts with no chat template around them.
"""

import asyncio
from pathlib import Path
from typing import Any

from guidellm.benchmark.entrypoints import benchmark_generative_text
from guidellm.benchmark.schemas import GenerativeBenchmark
from guidellm.schemas.benchmark import BenchmarkScenario

_DISTRIBUTIONS = {
    "ttft": "time_to_first_token_ms",
    "itl": "inter_token_latency_ms",
    "tpot": "time_per_output_token_ms",
    "request_latency": "request_latency",
}
_IN_MS = {"request_latency": 1000.0}


def benchmark(
    url: str,
    model: str,
    tokenizer: str,
    *,
    profile: dict[str, Any],
    prompt_tokens: int,
    output_tokens: int,
    duration_s: float,
    warmup_s: float,
    seed: int,
    destination: Path,
) -> list[dict[str, Any]]:
    """Run every point of the profile; write GuideLLM's own JSON and HTML into `destination`.

    Args:
        url: address of the application, without /v1.
        profile: GuideLLM's profile, such as {"kind": "concurrent", "streams": [1, 4]}.

    Returns:
        one figure set per point, latencies in ms, over requests that ended within the measured time
        (warm-up excluded).
    """
    scenario = BenchmarkScenario.model_validate(
        {
            "benchmarks": [
                {
                    "backend": {
                        "kind": "openai_http",
                        "target": url,
                        "model": model,
                        "request_format": "/v1/completions",
                        "validate_backend": False,
                        "timeout": 600,
                    },
                    "profile": {**profile, "warmup": {"value": warmup_s, "mode": "duration"}},
                    "constraints": [{"kind": "max_duration", "seconds": duration_s + warmup_s}],
                    "tokenizer": {"kind": "huggingface_auto", "model": tokenizer},
                    "data": [
                        {
                            "kind": "synthetic_text",
                            "prompt_tokens": prompt_tokens,
                            "output_tokens": output_tokens,
                        }
                    ],
                    "seed": {"kind": "static", "value": seed},
                    "outputs": [
                        {"kind": "json", "path": str(destination / "guidellm.json")},
                        {"kind": "html", "path": str(destination / "guidellm.html")},
                    ],
                    "metrics": {"kind": "generative", "sample_size": 20},
                }
            ]
        }
    )
    report, _ = asyncio.run(benchmark_generative_text(scenario, progress=False))
    return [_figures(measured) for measured in report.benchmarks]


def _figures(measured: GenerativeBenchmark) -> dict[str, Any]:
    metrics = measured.metrics
    totals = metrics.request_totals
    figures: dict[str, Any] = {
        "requests": totals.successful,
        "errors": totals.errored,
        "unfinished": totals.incomplete,
        "seconds": measured.duration,
        "output_tokens_per_second": metrics.output_tokens_per_second.successful.mean,
        "requests_per_second": metrics.requests_per_second.successful.mean,
        "concurrency_mean": metrics.request_concurrency.successful.mean,
        "prompt_tokens_mean": metrics.prompt_token_count.successful.mean,
        "output_tokens_mean": metrics.output_token_count.successful.mean,
    }
    for name, attribute in _DISTRIBUTIONS.items():
        summary = getattr(metrics, attribute).successful
        scale = _IN_MS.get(name, 1.0)
        for percentile in ("p50", "p95", "p99"):
            figures[f"{name}_{percentile}_ms"] = scale * getattr(summary.percentiles, percentile)
    return figures
