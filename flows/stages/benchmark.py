"""The load on one engine: its warming up, and the points of a load."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from actors.placement.lease import await_up
from configs.load import Load
from flows.analysis import energy, engine_log, requests
from flows.runtime.context import Run, Services, answer
from flows.runtime.errors import TimedOut
from flows.stages.served import Served
from flows.store.results import Figures

_MOST_PASSES = 4
"""Through the grid, while an engine warms up."""
_STEADY = 1.2
"""A point that is no more than so many times as fast as before is warm."""


def warmed_up(run: Run, served: Served, services: Services) -> Served:
    """The same engine after every point of every load, again and again until none is much faster than the time before:
    what it compiles at the first use of a kernel or a batch size is no part of what a load measures."""
    began = time.monotonic()
    for workload, load in run.plan.experiment.loads.items():
        before: list[float] = []
        for number in range(1, _MOST_PASSES + 1):
            served.say(run, f"warming up{workload and f' for {workload}'}, {number} ...")
            with run.store.scratch(served.slot.host, run.logs) as scratch:
                points = sweep(run, served, services, load.warming, repeat=0, destination=scratch, cut=True)
            speeds = [float(point["output_tokens_per_second"]) for point in points]
            if before and all(now <= _STEADY * then for now, then in zip(speeds, before, strict=True)):
                break
            before = speeds
    idle = _idle_power_w(run, served, services)
    return replace(served, report=replace(served.report, idle_power_w=idle, warming_s=time.monotonic() - began))


def _idle_power_w(run: Run, served: Served, services: Services) -> float | None:
    """The power of an engine's GPUs before its load, in watts; None where they do not tell."""
    if not served.report.gpus:
        return None
    benchmarker = services.benchmarkers[served.slot]
    await_up(benchmarker)
    ref: Any = benchmarker.idle_power_w.remote(served.report.gpus)
    idle: float | None = ray.get(ref)
    if idle is not None:
        served.say(run, f"its GPUs draw {idle:.0f} W without a request")
    return idle


def fastest(points: Sequence[Figures]) -> float:
    return max(float(point["output_tokens_per_second"]) for point in points)


def sweep(
    run: Run, served: Served, services: Services, load: Load, *, repeat: int, destination: Path, cut: bool = False
) -> list[Figures]:
    """Every point of the grid once; the requests are written into `destination`, their figures returned.

    Args:
        cut: whether nobody waits until requests are steady, and those of a window are cut off at its end.

    Raises:
        TimedOut: the load generator did not end; it starts anew.
    """
    benchmarker = services.benchmarkers[served.slot]
    await_up(benchmarker)
    ref: Any = benchmarker.benchmark.remote(
        url=served.url,
        model=served.deployment.model,
        key=served.deployment.key,
        tokenizer=str(served.folder),
        **load.requested | ({"pace": {**load.pace, "grace_s": 0.0}} if cut else {}),
        seed=load.seed + repeat,
        cores=list(run.plan.slots.clients[served.slot.index]),
        gpus=served.report.gpus or (),
        destination=str(destination),
    )
    try:
        windows = answer(ref, len(load.points) * load.longest_point_s)
    except TimedOut:
        ray.kill(benchmarker, no_restart=False)
        raise
    spans = [(window.start, window.end) for window in windows]
    logs: Any = services.server.wrote.remote(served.deployment.model, spans)
    seconds = [window.seconds for window in windows]
    points = run.store.near(served.slot.host, requests.read, destination, seconds, open_loop=load.open_loop)
    point_figures = []
    for value, point, window, log in zip(load.points, points, windows, ray.get(logs), strict=True):
        rate, compiled = value if load.open_loop else None, bool(engine_log.compilations(log))
        figures = requests.figures(point, client_share=window.client_share, compiled=compiled, rate=rate)
        figures |= energy.figures(window, served.report.idle_power_w, figures["output_tokens_per_second"])
        if (accepted := engine_log.draft_acceptance(log)) is not None:
            figures["draft_acceptance"] = accepted
        point_figures.append({"asked": value, "unit": load.unit, **figures})
    return point_figures
