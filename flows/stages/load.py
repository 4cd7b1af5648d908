"""The load on a served variant, repeat by repeat, in turns with the others on its host.

Variants are loaded at the same time where each engine and the clients have cores or GPUs of their own
and company was seen to cost little; else one after the other while the rest of the host idles. The
record says which it was, and what company cost.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from actors.conductor import my_id
from actors.lease import await_up
from actors.seating import Member, Place, Turn
from actors.serving import Deployment
from flows import requests
from flows.context import Outcome, Run, Services, TimedOut, answer
from flows.records import Draft


@dataclass(frozen=True)
class Served:
    """A variant that is up and says what its reference says."""

    outcome: Outcome
    place: Place
    deployment: Deployment
    report: dict[str, Any]
    difference: dict[str, Any]


def put_under_load(run: Run, served: Served, services: Services) -> None:
    """Every repeat of the load that has no record yet, each when it is this variant's turn."""
    load, name = run.plan.experiment.load, served.outcome.name
    missing = tuple(repeat for repeat, record in enumerate(served.outcome.benchmarks) if record is None)
    if not missing:
        return
    run.progress.say(name, "ready for load: waiting for the others on this host ...")
    member = Member(name, missing, load.max_interference, run.plan.experiment.name)
    ray.get(services.conductor.ready.remote(my_id(), member))
    while (turn := ray.get(services.conductor.next_turn.remote(my_id()))) is not None:
        speed = _probe(run, served, services, turn) if turn.repeat is None else _benchmark(run, served, services, turn)
        ray.get(services.conductor.done.remote(my_id(), turn, speed))


def _probe(run: Run, served: Served, services: Services, turn: Turn) -> float:
    """Output tokens per second of one sweep that goes into no record: what does company cost?"""
    run.progress.say(served.outcome.name, "under load, alone or in company: what does company cost? ...")
    with tempfile.TemporaryDirectory(dir=run.logs) as scratch:
        return _fastest(_sweep(run, served, services, repeat=0, destination=Path(scratch)))


def _fastest(points: list[dict[str, Any]]) -> float:
    return max(float(point["output_tokens_per_second"]) for point in points)


def _benchmark(run: Run, served: Served, services: Services, turn: Turn) -> float:
    """One repeat, and its record."""
    outcome, load, repeat = served.outcome, run.plan.experiment.load, turn.repeat or 0

    def measure(draft: Draft) -> None:
        others = [name for name in turn.company if name != outcome.name]
        how = f"together with {', '.join(others)}" if others else "alone"
        run.progress.say(outcome.name, f"under load, {how}, {repeat + 1} of {load.repeats} ...")
        draft.result = {
            "points": _sweep(run, served, services, repeat=repeat, destination=draft.folder),
            "company": list(turn.company),
            "interference": turn.interference,
            "engine_cores": list(run.plan.seats.engines[served.place.seat]),
            "client_cores": list(run.plan.seats.clients[served.place.seat]),
            "deployment": served.report,
            "reference": served.difference,
        }

    record = outcome.benchmarks[repeat] = run.do_once(outcome.plan.benchmarks[repeat], services, measure)
    rates = ", ".join(f"{point['output_tokens_per_second']:.1f}" for point in record.result["points"])
    run.progress.say(outcome.name, f"loaded in {record.seconds:.0f} s: {rates} output tokens/s")
    return _fastest(record.result["points"])


def _sweep(run: Run, served: Served, services: Services, *, repeat: int, destination: Path) -> list[dict[str, Any]]:
    """Every point of the grid once; the requests are written into `destination`, their figures returned.

    Raises:
        TimedOut: at some point no request ended, or the load generator itself did not; then it starts anew.
    """
    load = run.plan.experiment.load
    values, open_loop = list(load.points), load.kind != "concurrent"
    unit = "requests_per_second" if open_loop else "streams"
    benchmarker = services.benchmarkers[served.place]
    await_up(benchmarker)
    asked: Any = benchmarker.benchmark.remote(
        url=served.deployment.url,
        model=served.deployment.model,
        tokenizer=str(served.outcome.checkpoint_folder),
        profile={"kind": load.kind, "rate" if open_loop else "streams": values},
        prompt_tokens=load.prompt_tokens,
        output_tokens=load.output_tokens,
        duration_s=load.duration_s,
        warmup_s=load.warmup_s,
        seed=load.seed + repeat,
        cores=list(run.plan.seats.clients[served.place.seat]),
        destination=str(destination),
    )
    try:
        windows = answer(asked, len(values) * (load.grace_s + load.warmup_s + load.duration_s))
    except TimedOut:
        ray.kill(benchmarker, no_restart=False)
        raise
    points = requests.read(destination, windows, open_loop=open_loop)
    found = [{"asked": v, "unit": unit, **requests.figures(p)} for v, p in zip(values, points, strict=True)]
    if idle := [point["asked"] for point in found if not point["requests"]]:
        raise TimedOut(f"no request ended within {load.duration_s:g} s at {idle} {unit}; give it longer")
    return found
