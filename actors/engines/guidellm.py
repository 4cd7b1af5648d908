"""GuideLLM: one grid of load points against one served variant, every request of it written down.

Prompts are synthetic text of an exact token count from a fixed seed, sent as plain completions, so
that every variant gets the same prompts with no chat template around them. When a point's window begins and ends
is up to `actors.pacing`, as a constraint of GuideLLM's: its own warm-up lasts for a time or for a number of requests,
and its own ends cancel what is under way. What the requests say is worked out elsewhere (`flows.analysis.requests`),
from the times that GuideLLM took.
"""

import asyncio
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from guidellm.benchmark.entrypoints import benchmark_generative_text
from guidellm.benchmark.outputs.html import GenerativeBenchmarkerHTML
from guidellm.benchmark.schemas import GenerativeBenchmark, GenerativeBenchmarksReport
from guidellm.scheduler import SchedulerState, SchedulerUpdateAction
from guidellm.schemas import GenerativeRequestStats, RequestInfo
from guidellm.schemas.benchmark import BenchmarkScenario

from actors.artifacts import REQUESTS
from actors.pacing import Pace, Point

_TEXTS_KEPT = 20
"""Requests of a point whose texts stay in GuideLLM's own report: all of them would fill a disk."""

_PROMPTS_AHEAD = 256
"""Prompts that are made ahead of their requests. GuideLLM's own 4096 keep a core busy into every measured window."""

_WINDOW = "window"
"""What the constraint that ends a point is called among GuideLLM's."""


def benchmark(
    url: str,
    model: str,
    tokenizer: str,
    *,
    profile: dict[str, Any],
    prompt_tokens: int,
    output_tokens: int,
    pace: dict[str, Any],
    seed: int,
    destination: Path,
    lengths: dict[str, int] | None = None,
    key: str | None = None,
) -> list[tuple[float, float]]:
    """Run every point of the profile; write its requests and GuideLLM's own JSON and HTML into `destination`.

    Args:
        url: address of the application, without /v1.
        profile: GuideLLM's profile, such as {"kind": "concurrent", "streams": [1, 4]}.
        pace: fields of `actors.pacing.Pace`.
        lengths: how requests differ in length, as fields of GuideLLM's synthetic text.
        key: what the server asks for as a bearer token, if it does.

    Returns:
        when every point's measured window began and ended, in seconds since 1970.
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
                        "follow_redirects": False,
                        "timeout": 600,
                    },
                    "profile": {**profile, **_spread(profile["kind"], pace)},
                    "tokenizer": {"kind": "huggingface_auto", "model": tokenizer},
                    "data": [
                        {
                            "kind": "synthetic_text",
                            "prompt_tokens": prompt_tokens,
                            "output_tokens": output_tokens,
                            **(lengths or {}),
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
    report = _run(scenario, Pace(**pace))
    windows = [_window(measured) for measured in report.benchmarks]
    with (destination / REQUESTS).open("w") as file:
        for index, (measured, window) in enumerate(zip(report.benchmarks, windows, strict=True)):
            for row in _rows(measured, window[0]):
                file.write(json.dumps({"point": index, **row}) + "\n")
    _keep_own_report(report, destination)
    return windows


def _run(scenario: BenchmarkScenario, pace: Pace) -> GenerativeBenchmarksReport:
    """What GuideLLM reports. It is no result of a task's: when `asyncio.run` gives SIGINT back, Python writes its own
    handler out in words, with the task and its result (`signal._int_to_enum`), which are megabytes here."""
    reports: list[GenerativeBenchmarksReport] = []

    async def run() -> None:
        report, _ = await benchmark_generative_text(scenario, progress=False, **{_WINDOW: _Windows(pace)})
        reports.append(report)

    asyncio.run(run())
    return reports[0]


def _spread(kind: str, pace: dict[str, Any]) -> dict[str, float]:
    """Clients that begin at once stay in step where all requests have the same length: they begin one by one."""
    return {"rampup_duration": pace["warmup_s"] / 2} if kind == "concurrent" else {}


class _Windows:
    """Makes a constraint for every point."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def create_constraint(self, **_: Any) -> "_Window":
        return _Window(self._pace)


class _Window:
    """Ends a point when its window is over and its requests have been followed; called with every change of a request,
    and ten times a second without one."""

    def __init__(self, pace: Pace) -> None:
        self._open_loop, self._point = pace.open_loop, Point(pace)

    def __call__(self, _state: SchedulerState, request: RequestInfo | None) -> SchedulerUpdateAction:
        if request is not None:
            self._take(request)
        if not self._point.over(time.time()):
            return SchedulerUpdateAction()
        start, end = self._point.window or (math.nan, math.nan)
        window = {"start": start, "end": end}
        return SchedulerUpdateAction(request_queuing="stop", request_processing="stop_local", metadata=window)

    def _take(self, request: RequestInfo) -> None:
        """In an open loop a request begins when it is due, known once a worker has it; else when it is sent."""
        times, begins = request.timings, "pending" if self._open_loop else "in_progress"
        moment = times.targeted_start if self._open_loop else times.resolve_start
        if request.status == begins and moment is not None:
            self._point.begin(request.request_id, moment)
        elif request.status in ("completed", "errored", "cancelled"):
            self._point.end(request.request_id)


def _window(measured: GenerativeBenchmark) -> tuple[float, float]:
    window = measured.scheduler_state.end_processing_constraints[_WINDOW].metadata
    return window["start"], window["end"]


def _rows(measured: GenerativeBenchmark, start: float) -> Iterator[dict[str, Any]]:
    """A point's requests; times in seconds from the start of its measured window."""
    groups = {
        "completed": measured.requests.successful,
        "unfinished": measured.requests.incomplete,
        "errored": measured.requests.errored,
    }
    for status, requests in groups.items():
        for request in requests:
            yield {"status": status, **_times(request, start)}


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
    """GuideLLM's report without most of its texts, and without the key, which its settings in the report hold."""
    for settings in report.config.benchmarks:
        settings["backend"].pop("api_key")
    for measured in report.benchmarks:
        for status in ("successful", "incomplete", "errored"):
            setattr(measured.requests, status, getattr(measured.requests, status)[:_TEXTS_KEPT])
    report.save_file(destination / "guidellm.json")
    asyncio.run(GenerativeBenchmarkerHTML(output_path=destination / "guidellm.html").finalize(report))
