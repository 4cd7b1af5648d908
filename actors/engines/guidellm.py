"""GuideLLM: one grid of load points against one served variant, every request of it written down.

Prompts are synthetic text of an exact token count from a fixed seed, sent as plain completions, so
that every variant gets the same prompts with no chat template around them. What the requests say is
worked out elsewhere (`flows.requests`), from the times that GuideLLM took.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from guidellm.benchmark.entrypoints import benchmark_generative_text
from guidellm.benchmark.outputs.html import GenerativeBenchmarkerHTML
from guidellm.benchmark.schemas import GenerativeBenchmark, GenerativeBenchmarksReport
from guidellm.schemas import GenerativeRequestStats
from guidellm.schemas.benchmark import BenchmarkScenario

from actors.benchmarker import REQUESTS

_TEXTS_KEPT = 20
"""Requests of a point whose texts stay in GuideLLM's own report: all of them would fill a disk."""

_PROMPTS_AHEAD = 256
"""Prompts that are made before they are asked for. GuideLLM's own 4096 keep a core busy into every measured window."""


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
    key: str | None = None,
) -> list[tuple[float, float]]:
    """Run every point of the profile; write its requests and GuideLLM's own JSON and HTML into `destination`.

    Args:
        url: address of the application, without /v1.
        profile: GuideLLM's profile, such as {"kind": "concurrent", "streams": [1, 4]}.
        key: what the server asks for as a bearer token, if it does.

    Returns:
        when every point's measured window began and ended, warm-up excluded, in seconds since 1970.
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
                        "api_key": key,
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
                    "data_loader": {"kind": "pytorch", "prefetch_factor": _PROMPTS_AHEAD},
                    "seed": {"kind": "static", "value": seed},
                    "outputs": [],
                    "metrics": {"kind": "generative", "sample_size": None},
                }
            ]
        }
    )
    report, _ = asyncio.run(benchmark_generative_text(scenario, progress=False))
    with (destination / REQUESTS).open("w") as file:
        for place, measured in enumerate(report.benchmarks):
            for row in _rows(measured):
                file.write(json.dumps({"point": place, **row}) + "\n")
    _keep_own_report(report, destination)
    return [(measured.start_time, measured.end_time) for measured in report.benchmarks]


def _rows(measured: GenerativeBenchmark) -> Iterator[dict[str, Any]]:
    """A point's requests; times in seconds from the start of its measured window."""
    groups = {
        "completed": measured.requests.successful,
        "unfinished": measured.requests.incomplete,
        "errored": measured.requests.errored,
    }
    for status, requests in groups.items():
        for request in requests:
            yield {"status": status, **_times(request, measured.start_time)}


def _times(request: GenerativeRequestStats, start: float) -> dict[str, Any]:
    timings = request.info.timings
    moments = {
        "due_s": timings.targeted_start,
        "sent_s": timings.request_start if timings.request_start is not None else timings.resolve_start,
        "first_token_s": timings.first_token_iteration,
        "last_token_s": timings.last_token_iteration,
        "ended_s": request.request_end_time,
    }
    return {
        **{name: None if moment is None else round(moment - start, 6) for name, moment in moments.items()},
        "prompt_tokens": request.prompt_tokens,
        "output_tokens": request.output_tokens,
    }


def _keep_own_report(report: GenerativeBenchmarksReport, destination: Path) -> None:
    for measured in report.benchmarks:
        for status in ("successful", "incomplete", "errored"):
            setattr(measured.requests, status, getattr(measured.requests, status)[:_TEXTS_KEPT])
    report.save_file(destination / "guidellm.json")
    asyncio.run(GenerativeBenchmarkerHTML(output_path=destination / "guidellm.html").finalize(report))
