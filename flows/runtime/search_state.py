"""The variants that a search came upon, kept in the store so that plan, status, report and clean know them too."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from configs.variants import Variant
from flows.planning.plan import Plan
from flows.store.records import Store

_FILE = "searched.json"


@dataclass(frozen=True)
class Search:
    """How far a search has come."""

    variants: tuple[Variant, ...] = ()
    """In the order of their suggestion."""
    ended: bool = False
    """Whether it will suggest no more; they need not all be measured."""


def recall(plan: Plan, store: Store) -> Search:
    """How far the search of an experiment has come; one that began from other settings does not count."""
    kept = store.kept_mapping(plan.experiment.name, _FILE)
    if kept.get("asked") != _identity(plan):
        return Search()
    try:
        return Search(tuple(Variant.model_validate(variant) for variant in kept["variants"]), bool(kept["ended"]))
    except (ValidationError, KeyError, TypeError):
        return Search()  # of another version; the search begins again, and what it measured has its records


def goes_on(plan: Plan, store: Store) -> bool:
    """Whether there is a search, and it has more to suggest."""
    sweep = plan.experiment.sweep
    return sweep is not None and sweep.search == "optuna" and not recall(plan, store).ended


def keep(plan: Plan, store: Store, *, ended: bool) -> None:
    """Write down how far a search has come, and that its records are in use."""
    listed = plan.experiment.names
    found = [planned.variant.model_dump(mode="json") for planned in plan.variants if planned.name not in listed]
    store.keep(plan.experiment.name, _FILE, {"asked": _identity(plan), "variants": found, "ended": ended})
    store.refer(plan.experiment.name, plan.steps)


def _identity(plan: Plan) -> dict[str, Any]:
    """Whatever a search depends on beside the results."""
    experiment = plan.experiment
    return {
        "sweep": experiment.sweep.model_dump(mode="json") if experiment.sweep else None,
        "decision": experiment.decision.model_dump(mode="json"),
        "base": [step.fingerprint for step in plan.baseline.steps],
    }
