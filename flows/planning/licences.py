"""The licence of a model that is not made here, as its card states it: nobody else's reading of it, and no advice.

A card is the README.md of a folder or a repository, headed by YAML (the hub's model card metadata). What a stranger
wrote there is shown as one short line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs import yaml_files
from configs.model import HubModel, Model, PathModel
from configs.yaml_files import Malformed
from flows.planning import hub, hub_models
from flows.planning.plan import Plan

_CARD = "README.md"
_KEYS = ("license", "license_name", "license_link")
_LONGEST = 200


@dataclass(frozen=True)
class Licence:
    """What a card says."""

    words: str
    terms: Mapping[str, str] = field(default_factory=dict)
    """`license`, `license_name` and `license_link`, as far as they are stated."""


def of(model: Model, commit: str | None = None) -> Licence | None:
    """The licence of a hub's model or of a folder; None of what has no card, as a wheel.

    Args:
        commit: of the hub's model, where it is known which one was used.
    """
    if isinstance(model, PathModel):
        return _stated(_head(model.path))
    if not isinstance(model, HubModel):
        return None
    revision = commit or model.revision
    if (folder := hub.cached_model(model.repository, revision)) and (folder / _CARD).is_file():
        return _stated(_head(folder))
    card = hub_models.card(model.repository, revision)
    return Licence("not known: the hub was not asked, or did not say") if card is None else _stated(card)


def notes(plan: Plan) -> list[str]:
    """One line about each model that an experiment names."""
    models = dict.fromkeys(variant.model for variant in plan.tried if variant.model)
    told = ((model.label, of(model)) for model in models)
    return [f"licence of {label}: {licence.words}" for label, licence in told if licence]


def _stated(card: Mapping[str, Any]) -> Licence:
    terms = {key: words for key in _KEYS if (words := _in_one_line(card.get(key)))}
    if "license" not in terms:
        return Licence("not stated", terms)
    named = ", ".join(terms[key] for key in _KEYS[1:] if key in terms)
    return Licence(f"{terms['license']} ({named})" if named else terms["license"], terms)


def _head(folder: Path) -> Mapping[str, Any]:
    """The YAML in front of a folder's card; empty where there is none that can be read."""
    try:
        first, *lines = yaml_files.text(folder / _CARD).splitlines()
        end = next(place for place, line in enumerate(lines) if line.rstrip() == "---")
        head = yaml_files.parse("\n".join(lines[:end])) if first.rstrip() == "---" else None
    except (Malformed, ValueError, StopIteration):
        return {}
    return head if isinstance(head, dict) else {}


def _in_one_line(value: Any) -> str:
    """What a stranger wrote, or several such values, without what a terminal or a page could take for its own."""
    values = value if isinstance(value, list) else [value]
    text = " ".join(", ".join(one for one in values if isinstance(one, str)).split())
    return "".join(letter for letter in text if letter.isprintable() and letter not in "[]<>`|")[:_LONGEST]
