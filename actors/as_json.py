"""Frozen dataclasses as JSON, and read from it: what a record holds, and what comes back from a process that is not
trusted (`actors/programs/without_secrets.py`), where a pickle could run code."""

import json
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")
_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


class Misfit(ValueError):
    """JSON that is not of a type; the message names the first field that does not fit."""


def to_json(value: Any) -> dict[str, Any]:
    """A dataclass in values that JSON knows; a field that is None is left out."""
    return asdict(value, dict_factory=lambda pairs: {name: one for name, one in pairs if one is not None})


def from_json(kind: type[T], content: Any) -> T:
    """A dataclass from what `to_json` made of it. Keys that it does not know are of a later version, and ignored.

    Raises:
        Misfit: something is missing, or of another type.
    """
    try:
        value: T = _adapter(kind).validate_json(json.dumps(content), strict=True)
        return value
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise Misfit(f"has no `{field:.80}` that can be read" if field else "cannot be read") from None


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Made once: that takes 2 ms, and reading a record by it 0.1."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
