"""The load on a group of served variants, repeat by repeat.

Variants are loaded at the same time where each engine and the clients have cores or GPUs of their own
and company was seen to cost little; else one after the other while the rest of the group idles. The
record says which it was, and what company cost.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle

from actors.serving import Deployment
from flows import requests
from flows.context import Outcome, Run, StepFailed, failing_alone


@dataclass(frozen=True)
class Place:
    """One seat for an engine, and the clients that ask it."""

    seat: int
    benchmarker: ActorHandle[Any]


@dataclass(frozen=True)
class Served:
    """A variant that is up and says what its reference says."""

    outcome: Outcome
    place: Place
    deployment: Deployment
    report: dict[str, Any]
    difference: dict[str, Any]


@dataclass(frozen=True)
class _Company:
    """Who is loaded at the same time, and what that was seen to cost; nobody where it is one by one."""

    names: tuple[str, ...] = ()
    interference: dict[str, Any] | None = None


def put_under_load(run: Run, up: list[Served], pool: ThreadPoolExecutor) -> None:
    """Every repeat of the load on every variant of a group; who goes first changes from repeat to repeat,
    so that what drifts on the machine favours nobody."""
    loading = [served for served in up if None in served.outcome.benchmarks]
    company = _Company()
    if run.plan.seats.together and len(loading) > 1:
        company = _company(run, loading, pool)
    in_order = pool.map if company.names else map
    for repeat in range(run.plan.experiment.load.repeats):
        waiting = [served for served in loading if served.outcome.benchmarks[repeat] is None]
        turns = waiting if repeat % 2 == 0 else waiting[::-1]
        list(in_order(partial(_benchmark, run, repeat=repeat, company=company), turns))


def _company(run: Run, loading: list[Served], pool: ThreadPoolExecutor) -> _Company:
    """Whether a group may be loaded at the same time: the first variant alone against the same in company."""
    limit, first = run.plan.experiment.load.max_interference, loading[0].outcome.name
    run.progress.say(first, "under load, alone, then in company: what does company cost? ...")
    alone = _probe(run, loading[0])
    in_company, *_others = pool.map(partial(_probe, run), loading)
    if not alone or not in_company:
        return _Company()
    loss = 1 - in_company / alone
    names = tuple(served.outcome.name for served in loading) if loss <= limit else ()
    how = "together" if names else "one by one"
    cost = f"company costs {100 * loss:.0f} % of its tokens/s (limit {100 * limit:g} %)"
    run.progress.say(first, f"{cost}: the group is loaded {how}")
    return _Company(names, {"variant": first, "alone": alone, "in_company": in_company, "loss": loss, "limit": limit})


def _probe(run: Run, served: Served) -> float | None:
    """Output tokens per second of one sweep that goes into no record; None where the variant fails."""
    with failing_alone(run, served.outcome), tempfile.TemporaryDirectory(dir=run.logs) as scratch:
        return _fastest(_sweep(run, served, repeat=0, destination=Path(scratch)))
    return None


def _fastest(points: list[dict[str, Any]]) -> float:
    return max(float(point["output_tokens_per_second"]) for point in points)


def _benchmark(run: Run, served: Served, *, repeat: int, company: _Company) -> None:
    """One repeat on one variant, and its record."""
    outcome, load = served.outcome, run.plan.experiment.load
    if outcome.failure is not None:
        return
    step = outcome.plan.benchmarks[repeat]
    with failing_alone(run, outcome), run.store.writing(step) as draft:
        others = [name for name in company.names if name != outcome.name]
        how = f"together with {', '.join(others)}" if others else "alone"
        run.progress.say(outcome.name, f"under load, {how}, {repeat + 1} of {load.repeats} ...")
        draft.result = {
            "points": _sweep(run, served, repeat=repeat, destination=draft.folder),
            "company": list(company.names),
            "interference": company.interference,
            "engine_cores": list(run.plan.seats.engines[served.place.seat]),
            "client_cores": list(run.plan.seats.clients[served.place.seat]),
            "deployment": served.report,
            "reference": served.difference,
        }
    record = outcome.benchmarks[repeat] = run.store.find(step)
    if record is not None:
        rates = ", ".join(f"{p['output_tokens_per_second']:.1f}" for p in record.result["points"])
        run.progress.say(outcome.name, f"loaded in {record.seconds:.0f} s: {rates} output tokens/s")


def _sweep(run: Run, served: Served, *, repeat: int, destination: Path) -> list[dict[str, Any]]:
    """Every point of the grid once; the requests are written into `destination`, their figures returned.

    Raises:
        StepFailed: at some point no request ended.
    """
    load = run.plan.experiment.load
    values, open_loop = list(load.points), load.kind != "concurrent"
    unit = "requests_per_second" if open_loop else "streams"
    asked: Any = served.place.benchmarker.benchmark.remote(
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
    points = requests.read(destination, ray.get(asked), open_loop=open_loop)
    found = [{"asked": v, "unit": unit, **requests.figures(p)} for v, p in zip(values, points, strict=True)]
    if idle := [point["asked"] for point in found if not point["requests"]]:
        raise StepFailed(f"no request ended within {load.duration_s:g} s at {idle} {unit}; give it longer")
    return found
