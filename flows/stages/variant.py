"""A variant's way through the stages, rung by rung. Between rungs it holds nothing.

In the first rung it is compressed, served, evaluated and benchmarked; where variants race, evaluated on the
first slice of the documents only, and in the second rung on the rest. A rung that an earlier run was through
is over at once.
"""

import time
from dataclasses import dataclass

from actors.placement.coordinator import away_after, claimed
from actors.placement.lease import await_up
from flows.runtime.context import EarlyStopped, Outcome, Run, Services
from flows.runtime.faults import fault
from flows.stages.checkpoint import make_checkpoint
from flows.stages.measure import measure

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
        run.outcomes[run.base.name] = Outcome.of(run.plan.base, run.store)
        outcome = run.outcomes[name] = Outcome.of(run.outcomes[name].plan, run.store)
        if outcome.failure:
            return Finish(last=True, failure=outcome.failure)
        try:
            finish = _rung(run, outcome, services, first)
            if finish.last:
                run.progress.say(name, "measured in full", "measured")
            else:
                run.progress.say(name, "paused: waiting for all variants to finish this rung")
            return finish
        except EarlyStopped as why:
            run.progress.say(name, f"stopped: {why}", "stopped")
            return Finish(last=True)
        except Exception as error:
            cause = fault(error)
            if cause.node_lost:
                run.progress.say(name, "its node is gone; going on with another ...")
            elif attempt == attempts or not cause.may_pass:
                run.progress.say(name, f"FAILED: {cause}", "failed")
                return Finish(last=True, failure=str(cause))
            else:
                attempt += 1
                run.progress.say(name, f"{cause}; attempt {attempt} of {attempts} ...")
            time.sleep(_BEFORE_ANOTHER_S)
            await_up(services.server)


def _rung(run: Run, outcome: Outcome, services: Services, first: bool) -> Finish:
    slices = range(len(outcome.evaluations))
    make_checkpoint(run, outcome, services)
    measure(run, outcome, services, slices[:1] if first else slices)
    return Finish(last=outcome.complete)
