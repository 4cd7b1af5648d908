"""A variant's way: quantize, serve, evaluate, benchmark; rung by rung, and between rungs it holds nothing.

Where variants race, the first rung evaluates on the first slice of the documents only, the last on the rest; where
their load comes in two parts, the second of these is a rung in between. A rung that an earlier run was through is over
at once.
"""

import time
from dataclasses import dataclass

from actors.placement.coordinator import away_after, claimed, step_aside
from actors.placement.lease import await_up
from flows.runtime.context import Run, Services
from flows.runtime.errors import EarlyStopped
from flows.runtime.faults import fault
from flows.runtime.outcome import Outcome
from flows.stages.block import benchmark_in_blocks
from flows.stages.checkpoint import make_checkpoint
from flows.stages.evaluate import evaluate_in_actor, evaluate_served, evaluator_at, stop_if_hopeless
from flows.stages.served import Served, bring_up, serving

_BEFORE_ANOTHER_S = 1.0
"""Before another attempt: what has just died is noticed by then."""


@dataclass(frozen=True)
class Finish:
    """How a rung ended."""

    last: bool
    """Whether there is nothing more to do for the variant."""
    failure: str | None = None


def run_rung(run: Run, name: str, services: Services, *, first: bool) -> Finish:
    """A rung of a variant; tried again, as often as configured, after a fault that may pass. Where the same variant
    of the same experiment is followed by somebody else, that is waited for."""
    what = f"{run.store.root}/experiments/{run.plan.experiment.name}/{name}"
    with claimed(services.coordinator, what), away_after(services.coordinator):
        return _attempts(run, name, services, first)


def _attempts(run: Run, name: str, services: Services, first: bool) -> Finish:
    attempts, attempt = 1 + run.plan.experiment.retries, 1
    while True:
        run.look_again(run.baseline.name, name)
        outcome = run.outcomes[name]
        if outcome.failure:
            return Finish(last=True, failure=outcome.failure)
        try:
            _stages(run, outcome, services, first)
            if outcome.complete:
                run.progress.say(name, "measured in full", "measured")
            else:
                run.progress.say(name, "paused: waiting for all variants to finish this rung")
            return Finish(last=outcome.complete)
        except EarlyStopped as why:
            run.progress.say(name, f"stopped: {why}", "stopped")
            return Finish(last=True)
        except Exception as error:
            cause = fault(error)
            if cause.node_lost:
                run.progress.say(name, "its node is gone; continuing on another ...")
            elif attempt == attempts or not cause.may_pass:
                run.progress.say(name, f"FAILED: {cause}", "failed")
                return Finish(last=True, failure=str(cause))
            else:
                attempt += 1
                run.progress.say(name, f"{cause}; attempt {attempt} of {attempts} ...")
            time.sleep(_BEFORE_ANOTHER_S)
            await_up(services.server)


def _stages(run: Run, outcome: Outcome, services: Services, first: bool) -> None:
    """Whatever of a rung has no record yet.

    Args:
        first: whether it is the first.
    """
    slices = range(len(outcome.evaluations))[: 1 if first else None]
    loads = outcome.plan.first_loads if first else frozenset[int]()

    def evaluate_first(served: Served) -> None:
        with evaluator_at(served.slot) as evaluator:
            evaluate_served(run, served, services, evaluator, slices)

    make_checkpoint(run, outcome, services)
    stop_if_hopeless(run, outcome)
    if not (first or outcome.benchmarked):
        benchmark_in_blocks(run, outcome, services)
        return
    if run.plan.experiment.accuracy.engine != "served":
        evaluate_in_actor(run, outcome, services, slices)
    if run.plan.fills_host(outcome.plan) and not (outcome.evaluated_on(slices) or outcome.screened):
        # It has the host for itself: the one that is evaluated is benchmarked before another is started.
        benchmark_in_blocks(run, outcome, services, evaluate_first, loads)
    if not outcome.evaluated_on(slices):
        _evaluate(run, outcome, services, slices)
    if not outcome.screened:
        benchmark_in_blocks(run, outcome, services, only=loads)


def _evaluate(run: Run, outcome: Outcome, services: Services, slices: range) -> None:
    """Evaluate a variant on some slices by an engine that is started for it: unless another one, which shares the
    evaluation, is about to do it; then that is waited for."""
    step_aside(services.coordinator)  # whoever waits for a claim must not be waited for at the slots
    shared = outcome.plan.evaluations[slices[0]].fingerprint
    with claimed(services.coordinator, f"{run.store.root}/engine for {shared}"):
        outcome.find_evaluations(run.store)
        if outcome.evaluated_on(slices):
            return
        with (
            run.holding_slots(
                outcome,
                services,
                to_be_measured=False,
                to_be_measured_next=not outcome.screened,
                sizes=run.plan.sizes(outcome.plan)[:1],
            ) as slot,
            serving(run, outcome, services, slot) as started,
            evaluator_at(slot) as evaluator,
        ):
            evaluate_served(run, bring_up(run, services, started), services, evaluator, slices)
