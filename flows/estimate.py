"""How long what is left of a plan will take. Pure functions.

Its steps, each as long as `flows.history` says, are played through with the seats and the rule that a run has
(`actors.seating`): a host is at work, or it is being measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from configs.experiment import Experiment
from flows.history import Figure, History
from flows.plan import Plan, VariantPlan
from flows.schedule import Stay, Way, play
from flows.steps import Step

_RAY_S = 30.0


@dataclass(frozen=True)
class Estimate:
    """What is left of a plan."""

    seconds: float
    device_hours: float
    """Cores or GPUs of a seat times the hours that it is held."""
    variants: dict[str, float] = field(default_factory=dict)
    """Seconds of each variant's own steps and engine starts, without waiting."""
    assumed: tuple[str, ...] = ()
    """Every assumption in it, once."""


def estimate(plan: Plan, missing: Callable[[Step], bool], history: History, *, hosts: int = 1) -> Estimate:
    """What is left of a plan, and how long it takes.

    Args:
        missing: whether a step has no record.
        hosts: nodes that are measured on.
    """
    prepare = plan.base.checkpoint
    figures: list[Figure] = []
    own: dict[str, float] = {}
    ways = []
    begin = history.seconds(prepare) if missing(prepare) else Figure(0.0)
    for variant in plan.tried:
        way, used = _way(plan, variant, missing, history)
        figures += used
        own[variant.name] = sum(figure.seconds for figure in used)
        if way.stays:
            ways.append(way)
    if missing(prepare):
        figures.append(begin)
        own[plan.base.name] += begin.seconds
    if not figures:
        return Estimate(0.0, 0.0, own)
    asked = plan.experiment.sweep
    room = (asked.max_concurrent if asked else None) or len(plan.seats.engines) * hosts + 1
    played = play(ways, plan.seats, hosts=hosts, room=room)
    held = begin.seconds + played.seat_seconds
    told = tuple(dict.fromkeys(figure.assumed for figure in figures if figure.assumed))
    ray = f"Ray, Serve and MLflow to begin and to end: assumed {_RAY_S:.0f} s"
    return Estimate(
        seconds=_RAY_S + begin.seconds + played.seconds,
        device_hours=held * _devices(plan) / 3600,
        variants=own,
        assumed=(*told, ray),
    )


def _way(
    plan: Plan, variant: VariantPlan, missing: Callable[[Step], bool], history: History
) -> tuple[Way, list[Figure]]:
    """The stays on a seat that a variant still needs, and the figures in them."""
    experiment, used, stays = plan.experiment, [], []

    def take(figure: Figure) -> float:
        used.append(figure)
        return figure.seconds

    if variant.scheme and missing(variant.checkpoint):
        stays.append(Stay(take(history.seconds(variant.checkpoint))))
    evaluations = [step for step in (variant.proxy, *variant.evaluations, variant.control) if step and missing(step)]
    places = [place for place, step in enumerate(variant.benchmarks) if missing(step)]
    served = experiment.accuracy.engine == "served"
    if not served:
        stays += [Stay(take(history.seconds(step))) for step in evaluations]
    if places or (served and evaluations):
        begin = take(history.start(variant.benchmarks[0]))
        asked = sum(take(history.seconds(step)) for step in evaluations) if served else 0.0
        seconds = {place: take(history.seconds(variant.benchmarks[place])) for place in places}
        stays.append(Stay(begin + asked, _series(experiment, places), seconds))
    return Way(variant.name, tuple(stays)), used


def _series(experiment: Experiment, places: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Missing benchmarks, load by load."""
    if not places:
        return ()
    names = [workload for workload, _ in experiment.benchmarks]
    return tuple(tuple(place for place in places if names[place] == load) for load in experiment.loads)


def _devices(plan: Plan) -> float:
    """Cores or GPUs of one seat."""
    return len(plan.seats.engines[0]) or plan.experiment.serving.gpus
