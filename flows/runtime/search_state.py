"""The schemes that a search came upon, kept in the store so that plan, status, report and clean know them too."""

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from configs.schemes import Scheme
from flows.planning.plan import Plan
from flows.runtime.context import Run
from flows.store.records import Store

_FILE = "searched.json"
_SCHEME: TypeAdapter[Scheme] = TypeAdapter(Scheme)


@dataclass(frozen=True)
class Search:
    """How far a search has come."""

    schemes: tuple[Scheme, ...] = ()
    """In the order of asking."""
    ended: bool = False
    """Whether it will ask for no more; they need not all be measured."""


def found(plan: Plan, store: Store) -> Search:
    """How far the search of an experiment has come; one that asked something else does not count."""
    kept = store.kept_mapping(plan.experiment.name, _FILE)
    if kept.get("asked") != _asked(plan):
        return Search()
    try:
        return Search(tuple(_SCHEME.validate_python(scheme) for scheme in kept["schemes"]), bool(kept["ended"]))
    except (ValidationError, KeyError, TypeError):
        return Search()  # of another version; the search begins again, and what it measured has its records


def goes_on(plan: Plan, store: Store) -> bool:
    """Whether there is a search, and it has more to ask."""
    asked = plan.experiment.sweep
    return asked is not None and asked.search == "optuna" and not found(plan, store).ended


def keep(run: Run, *, ended: bool) -> None:
    """Write down how far a search has come, and that its records are in use."""
    plan = run.plan
    listed = plan.experiment.variants
    schemes = [v.scheme.model_dump(mode="json") for v in plan.variants if v.scheme and v.name not in listed]
    run.store.keep(plan.experiment.name, _FILE, {"asked": _asked(plan), "schemes": schemes, "ended": ended})
    run.store.refer(plan.experiment.name, plan.steps)


def _asked(plan: Plan) -> dict[str, Any]:
    """Whatever a search depends on beside the results."""
    experiment = plan.experiment
    return {
        "sweep": experiment.sweep.model_dump(mode="json") if experiment.sweep else None,
        "decision": experiment.decision.model_dump(mode="json"),
        "base": [step.fingerprint for step in plan.base.steps],
    }
