"""Why variants failed in the last run, for the commands that come after it: records say only what went well."""

from flows.runtime.context import Run
from flows.runtime.outcome import Outcome

_FILE = "failed.json"


def keep(run: Run) -> None:
    """Write down who failed by now, and why; nobody, at the beginning of a run."""
    failed = {
        outcome.name: {"reason": outcome.failure, "steps": _steps(outcome)}
        for outcome in run.outcomes.values()
        if outcome.failure and outcome.plan.left_out is None
    }
    run.store.keep(run.plan.experiment.name, _FILE, failed)


def recall(run: Run) -> None:
    """Fill in why variants failed, unless they are measured by now, or their steps are others."""
    for name, entry in run.store.kept_mapping(run.plan.experiment.name, _FILE).items():
        outcome, failure = run.outcomes.get(name), entry if isinstance(entry, dict) else {}
        if outcome is not None and not outcome.complete and failure.get("steps") == _steps(outcome):
            outcome.failure = str(failure.get("reason"))


def _steps(outcome: Outcome) -> list[str]:
    return [step.fingerprint for step in outcome.plan.steps]
