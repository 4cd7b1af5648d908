"""How long what is left of a plan will take. Pure functions.

Its steps, each as long as `flows.planning.history` says, are played through with the slots and the rule that a run has
(`actors.placement.allocation`): a host is at work, or it is being measured. How many go on after the first rung of a
race nobody knows before it: one at the least, all at the most.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from configs.experiment import Experiment
from flows.planning.history import Figure, History
from flows.planning.plan import Plan
from flows.planning.simulation import Stay, Way, play
from flows.planning.variant_plan import VariantPlan
from flows.store.results import Result
from flows.store.steps import Step

_RAY_S = 30.0


@dataclass(frozen=True)
class Estimate:
    """What is left of a plan."""

    seconds: float
    """At the most, where variants race."""
    device_hours: float
    """Cores or GPUs of a slot times the hours that it is held; at the most, too."""
    machine_hours: float = 0.0
    """The same of all slots of all hosts, from beginning to end: what is paid for where others do not use them."""
    price_of_an_hour: float | None = None
    """Of one such core or GPU, by the price of the base's devices; None where none is given."""
    least_seconds: float = 0.0
    """Where all but one lose a race in its first rung; the same as `seconds` where there is none."""
    variants: dict[str, float] = field(default_factory=dict)
    """Seconds of each variant's own steps and engine starts, without waiting."""
    assumed: tuple[str, ...] = ()
    """Every assumption in it, once."""


def estimate(plan: Plan, missing: Callable[[Step[Result]], bool], history: History, *, hosts: int = 1) -> Estimate:
    """What is left of a plan, and how long it takes.

    Args:
        missing: whether a step has no record.
        hosts: nodes that are measured on.
    """
    # Nobody begins before the base model is prepared, and the baseline's checkpoint is made.
    of_all = {one.checkpoint.fingerprint: one for one in (plan.base, plan.baseline) if missing(one.checkpoint)}
    begin = {one.name: history.seconds(one.checkpoint) for one in of_all.values()}
    begin_s = sum(figure.seconds for figure in begin.values())
    figures: list[Figure] = []
    own: dict[str, float] = {}
    ways: list[tuple[Way, Way]] = []
    counted = set(of_all)
    """Fingerprints of the steps so far: what several variants share is done once."""
    for variant in plan.tried:
        (first, used), (second, later) = (
            _way(plan, variant, [s for s in steps if missing(s) and s.fingerprint not in counted], history)
            for steps in _rungs(plan, variant)
        )
        counted |= {step.fingerprint for step in variant.steps}
        figures += [*used, *later]
        own[variant.name] = sum(figure.seconds for figure in (*used, *later))
        ways.append((first, second))
    for name, figure in begin.items():
        figures.append(figure)
        own[name] += figure.seconds
    if not figures:
        return Estimate(0.0, 0.0, variants=own)
    sweep = plan.experiment.sweep
    room = (sweep.max_concurrent if sweep else None) or len(plan.slots.engines) * hosts + 1
    first_rung = play([first for first, _ in ways], plan.slots, hosts=hosts, room=room)
    all_go_on = play([second for _, second in ways], plan.slots, hosts=hosts, room=room)
    one_goes_on = play(_with_one(ways), plan.slots, hosts=hosts, room=room)
    before = _RAY_S + begin_s + first_rung.seconds
    held = begin_s + first_rung.slot_seconds + all_go_on.slot_seconds
    assumptions = tuple(dict.fromkeys(figure.assumed for figure in figures if figure.assumed))
    ray = f"start and end of Ray, Serve and MLflow: assumed {_RAY_S:.0f} s"
    return Estimate(
        seconds=before + all_go_on.seconds,
        device_hours=held * _devices(plan) / 3600,
        machine_hours=(before + all_go_on.seconds) * hosts * len(plan.slots.engines) * _devices(plan) / 3600,
        price_of_an_hour=_price_of_an_hour(plan),
        least_seconds=before + one_goes_on.seconds,
        variants=own,
        assumed=(*assumptions, ray),
    )


def _rungs(plan: Plan, variant: VariantPlan) -> tuple[Sequence[Step[Result]], Sequence[Step[Result]]]:
    """The steps of a variant's first rung, and where variants race those of the later ones."""
    if plan.experiment.racing is None:
        return variant.steps, ()
    first = variant.first_loads
    rest = [step for index, step in enumerate(variant.benchmarks) if first and index not in first]
    second: list[Step[Any]] = [*rest, *(step for step in (*variant.evaluations[1:], variant.control) if step)]
    return [step for step in variant.steps if step not in second], second


def _with_one(ways: Sequence[tuple[Way, Way]]) -> list[Way]:
    """The second rungs of the baseline, which comes first, and of whoever has least to do in it."""
    base, *others = (second for _, second in ways)
    going_on = [second for second in others if second.stays]
    return [base, *sorted(going_on, key=lambda way: sum(stay.seconds for stay in way.stays))[:1]]


def _way(plan: Plan, variant: VariantPlan, steps: Sequence[Step[Result]], history: History) -> tuple[Way, list[Figure]]:
    """The stays on a slot that a variant needs for some of its steps, and the figures in them."""
    experiment, used, stays = plan.experiment, [], []

    def take(figure: Figure) -> float:
        used.append(figure)
        return figure.seconds

    if variant.checkpoint in steps:
        stays.append(Stay(take(history.seconds(variant.checkpoint))))
    evaluations = [step for step in (variant.proxy, *variant.evaluations, variant.control) if step and step in steps]
    indices = [index for index, step in enumerate(variant.benchmarks) if step in steps]
    served, own = experiment.accuracy.engine == "served", plan.sizes(variant)[:1]
    if not served:
        stays += [Stay(take(history.seconds(step)), sizes=own) for step in evaluations]
    evaluating_s = sum(take(history.seconds(step)) for step in evaluations) if served else 0.0
    if evaluating_s and not (indices and plan.fills_host(variant)):
        around_s = take(history.start(variant.benchmarks[0])) + take(history.end)
        stays.append(Stay(around_s + evaluating_s, sizes=own))
        evaluating_s = 0.0
    if indices:
        stays.append(_block(plan, variant, indices, evaluating_s, history, take))
    return Way(variant.name, tuple(stays)), used


def _block(
    plan: Plan,
    variant: VariantPlan,
    indices: Sequence[int],
    evaluating_s: float,
    history: History,
    take: Callable[[Figure], float],
) -> Stay:
    """The variant in turn with the baseline: the engines of every start, and one repeat of both after the other.

    Args:
        evaluating_s: seconds of evaluations that the variant's first engine does.
    """
    experiment, alone, sizes = plan.experiment, plan.one_by_one(variant), plan.sizes(variant)
    of = (experiment.benchmarks[index] for index in indices)
    starts = {experiment.loads[name].start_of(repeat, plan.hardware.accelerator) for name, repeat in of}
    engines = len(sizes)
    for name, load in experiment.loads.items():
        if len(load.looks) > 1 and any(experiment.benchmarks[index][0] == name for index in indices):
            words = f"{load.looks[-1]}, or {load.looks[0]} if the first look shows that they are enough"
            take(Figure(0.0, f"automatic repeats of {f'load {name}'.rstrip()}: assumed the most, {words}"))
    begin, warming = history.start(variant.benchmarks[0]), history.warming(variant.benchmarks[indices[0]])
    turns = 1 if plan.slots.together else engines
    up = sum(take(begin) + take(history.end) for _ in range(len(starts) * (engines if alone else 1)))
    warmed = sum(take(warming) for _ in range(len(starts) * turns))
    figures = {index: history.seconds(variant.benchmarks[index]) for index in indices}
    seconds = {index: sum(take(figure) for _ in range(turns)) for index, figure in figures.items()}
    return Stay(up + warmed + evaluating_s, _series(experiment, indices), seconds, (max(sizes),) if alone else sizes)


def _series(experiment: Experiment, indices: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Missing benchmarks, load by load."""
    if not indices:
        return ()
    names = [workload for workload, _ in experiment.benchmarks]
    return tuple(tuple(index for index in indices if names[index] == load) for load in experiment.loads)


def _price_of_an_hour(plan: Plan) -> float | None:
    of_base = plan.experiment.decision.price_per_hour
    return None if of_base is None else of_base / (_devices(plan) * plan.slots.taken_by(plan.base.serving.gpus))


def _devices(plan: Plan) -> float:
    """Cores or GPUs of one slot."""
    return len(plan.slots.engines[0]) or plan.slots.gpus_each
