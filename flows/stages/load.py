"""The load on a served variant, repeat by repeat, in turns with the others on its host.

Variants are loaded at the same time where each engine and the clients have cores or GPUs of their own
and company was seen to cost little; else one after the other while the rest of the host idles. The
record says which it was, and what company cost.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from actors.conductor import my_id
from actors.lease import await_up
from actors.seating import Member, Place, Series, Turn
from actors.serving import Deployment, check_up
from configs.load import Load
from flows import engine_log, requests
from flows.context import Outcome, Run, Services, TimedOut, answer
from flows.records import Draft

_MOST_PASSES = 4
"""Through the grid, while an engine warms up."""
_STEADY = 1.2
"""A point that is no more than so many times as fast as before is warm."""


@dataclass(frozen=True)
class Served:
    """A variant that is up and says what its reference says."""

    outcome: Outcome
    place: Place
    deployment: Deployment
    url: str
    """Where it answers on its node, without /v1."""
    folder: Path
    """The checkpoint's, on its node."""
    report: dict[str, Any]
    difference: dict[str, Any]


def put_under_load(run: Run, served: Served, services: Services) -> None:
    """Every repeat of every load that has no record yet, each when it is this variant's turn."""
    if served.outcome.loaded:
        return
    name = served.outcome.name
    served = replace(served, report={**served.report, "warming_s": _warm_up(run, served, services)})
    run.progress.say(name, "ready for load: waiting for the others on this host ...")
    member = Member(name, _missing(run, served.outcome), run.plan.experiment.name)
    ray.get(services.conductor.ready.remote(my_id(), member))
    while (turn := ray.get(services.conductor.next_turn.remote(my_id()))) is not None:
        speed = _probe(run, served, services, turn) if turn.probe else _benchmark(run, served, services, turn)
        ray.get(services.conductor.done.remote(my_id(), turn, speed))


def _warm_up(run: Run, served: Served, services: Services) -> float:
    """Every point of every load, again and again until none is much faster than the time before: what an engine
    compiles at the first use of a kernel or a batch size is no part of what a load measures. Returns the seconds."""
    began = time.monotonic()
    for workload, load in run.plan.experiment.loads.items():
        before: list[float] = []
        for number in range(1, _MOST_PASSES + 1):
            run.progress.say(served.outcome.name, f"warming up{workload and f' for {workload}'}, {number} ...")
            with run.store.scratch(served.place.host, run.logs) as scratch:
                points = _sweep(run, served, services, load.warming, repeat=0, destination=scratch, cut=True)
            speeds = [float(point["output_tokens_per_second"]) for point in points]
            if before and all(now <= _STEADY * then for now, then in zip(speeds, before, strict=True)):
                break
            before = speeds
    return time.monotonic() - began


def _missing(run: Run, outcome: Outcome) -> tuple[Series, ...]:
    """The benchmarks without a record, load by load."""
    experiment = run.plan.experiment
    places = [
        (workload, place)
        for place, (workload, _) in enumerate(experiment.benchmarks)
        if outcome.benchmarks[place] is None
    ]
    return tuple(
        Series(tuple(place for other, place in places if other == workload), load.max_interference)
        for workload, load in experiment.loads.items()
    )


def _probe(run: Run, served: Served, services: Services, turn: Turn) -> float:
    """Output tokens per second of one sweep that goes into no record: what does company cost?"""
    workload, _ = run.plan.experiment.benchmarks[turn.benchmark]
    load = run.plan.experiment.loads[workload]
    run.progress.say(served.outcome.name, f"{_under_load(workload)}, alone or in company: what does company cost? ...")
    with run.store.scratch(served.place.host, run.logs) as scratch:
        return _fastest(_sweep(run, served, services, load, repeat=0, destination=scratch))


def _under_load(workload: str) -> str:
    return f"under load {workload}".rstrip()


def _fastest(points: list[dict[str, Any]]) -> float:
    return max(float(point["output_tokens_per_second"]) for point in points)


def _benchmark(run: Run, served: Served, services: Services, turn: Turn) -> float:
    """One repeat, and its record."""
    outcome, (workload, repeat) = served.outcome, run.plan.experiment.benchmarks[turn.benchmark]
    load = run.plan.experiment.loads[workload]

    def measure(draft: Draft) -> None:
        others = [name for name in turn.company if name != outcome.name]
        how = f"together with {', '.join(others)}" if others else "alone"
        run.progress.say(outcome.name, f"{_under_load(workload)}, {how}, {repeat + 1} of {load.repeats} ...")
        with draft.on(served.place.host) as work:
            points = _sweep(run, served, services, load, repeat=repeat, destination=work)
        check_up(services.server, served.deployment, served.url)
        draft.result = {
            "points": points,
            "company": list(turn.company),
            "interference": turn.interference,
            "engine_cores": list(run.plan.seats.engines[served.place.seat]),
            "client_cores": list(run.plan.seats.clients[served.place.seat]),
            "deployment": served.report,
            "reference": served.difference,
        }

    step = outcome.plan.benchmarks[turn.benchmark]
    record = outcome.benchmarks[turn.benchmark] = run.do_once(step, services, measure)
    rates = ", ".join(f"{point['output_tokens_per_second']:.1f}" for point in record.result["points"])
    run.progress.say(outcome.name, f"loaded in {record.seconds:.0f} s: {rates} output tokens/s")
    return _fastest(record.result["points"])


def _sweep(
    run: Run, served: Served, services: Services, load: Load, *, repeat: int, destination: Path, cut: bool = False
) -> list[dict[str, Any]]:
    """Every point of the grid once; the requests are written into `destination`, their figures returned.

    Args:
        cut: whether nobody waits until requests are steady, and those of a window are cut off at its end.

    Raises:
        TimedOut: the load generator did not end; it starts anew.
    """
    values, open_loop = list(load.points), load.open_loop
    unit = "requests_per_second" if open_loop else "streams"
    benchmarker = services.benchmarkers[served.place]
    await_up(benchmarker)
    asked: Any = benchmarker.benchmark.remote(
        url=served.url,
        model=served.deployment.model,
        tokenizer=str(served.folder),
        profile={"kind": load.kind, "rate" if open_loop else "streams": values},
        prompt_tokens=load.prompt_tokens,
        output_tokens=load.output_tokens,
        lengths=load.lengths,
        pace={**load.pace, "grace_s": 0.0} if cut else load.pace,
        seed=load.seed + repeat,
        cores=list(run.plan.seats.clients[served.place.seat]),
        destination=str(destination),
    )
    try:
        windows = answer(asked, len(values) * load.longest_point_s)
    except TimedOut:
        ray.kill(benchmarker, no_restart=False)
        raise
    spans = [(window.start, window.end) for window in windows]
    logs: Any = services.server.wrote.remote(served.deployment.model, spans)
    compiled = [bool(engine_log.compilations(text)) for text in ray.get(logs)]
    seconds = [window.seconds for window in windows]
    points = run.store.near(served.place.host, requests.read, destination, seconds, open_loop=open_loop)
    found = []
    for value, point, window, pause in zip(values, points, windows, compiled, strict=True):
        rate = value if open_loop else None
        figures = requests.figures(point, client_share=window.client_share, compiled=pause, rate=rate)
        found.append({"asked": value, "unit": unit, **figures})
    return found
