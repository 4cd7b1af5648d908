"""What a field of a template in a sweep's space holds: one value, or what it varies over."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails

from configs.base import Settings, check_numbers, mistake, unknown_key
from configs.serving import Draft, Ngram

_LARGEST = 1e18
_MOST_IN_A_RANGE = 1_000_000_000
_RANGE = dict.fromkeys(("low", "high", "step"))
_GROUPS: dict[str, type[Settings]] = {"ngram": Ngram, **dict.fromkeys(("draft_model", "eagle", "eagle3"), Draft)}
"""Settings that are a value themselves, by their kind."""
Value = bool | int | float | str | Path | tuple[str, ...] | Ngram | Draft | None
"""What a field of a scheme, or a setting of an engine, may hold."""


@dataclass(frozen=True)
class Choices:
    """A field that takes one of some values."""

    field: str
    values: tuple[Value, ...]

    @property
    def count(self) -> int:
        return len(self.values)

    def at(self, position: int) -> Value:
        return self.values[position]

    def taken(self, value: Value) -> Value:
        """The value, if it is one of them."""
        if value not in self.values:
            raise ValueError(f"{self.field}: {value!r} is not one of {self.values}")
        return value

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values between which, where they have an order, all others lie: here every one."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A number between two ends, both included; `step` is None where it may be any number between."""

    field: str
    low: float
    high: float
    step: float | None
    integer: bool

    @property
    def count(self) -> int:
        """Different values, those without a step distinguished by their first four digits: a name shall
        stay short, and say exactly what the value is."""
        return int(self._width / self._grid) + 1

    def at(self, position: int) -> Value:
        value = Decimal(str(self.low)) + position * self._grid
        return int(value) if self.integer else float(value)

    def taken(self, value: Value) -> Value:
        """The number of the range that is nearest."""
        if not _is_number(value):
            raise ValueError(f"{self.field}: {value!r} is not a number")
        position = round((Decimal(str(value)) - Decimal(str(self.low))) / self._grid)
        return self.at(min(max(position, 0), self.count - 1))

    @property
    def ends(self) -> tuple[Value, ...]:
        return (self.at(0), self.at(self.count - 1))

    @property
    def _width(self) -> Decimal:
        return Decimal(str(self.high)) - Decimal(str(self.low))

    @property
    def _grid(self) -> Decimal:
        return Decimal(1).scaleb(self._width.adjusted() - 3) if self.step is None else Decimal(str(self.step))


Parameter = Choices | Range


def read(field: FieldInfo, given: Any, *location: str) -> Value | Parameter:
    """What a field holds: a value, a list of choices, or a range, which is a mapping with ends.

    Args:
        field: of the type that every value is checked against.
        location: the keys that lead to it from its template.

    Raises:
        ValidationError: at the location, as a value is none of the field's, or a range is none.
    """
    if isinstance(given, dict) and not _RANGE.keys().isdisjoint(given):
        return _range(field, given, location)
    if not _is_choices(field, given):
        return _checked(field, given, *location)
    if not given:
        raise mistake("[] has no choice; list at least one", *location)
    values = (_checked(field, choice, *location, position) for position, choice in enumerate(given))
    return Choices(".".join(location), tuple(dict.fromkeys(values)))


def _is_choices(field: FieldInfo, given: Any) -> bool:
    if get_origin(field.annotation) is tuple:
        return isinstance(given, list) and any(isinstance(item, list) for item in given)
    return isinstance(given, list)


def _checked(field: FieldInfo, value: Any, *location: str | int) -> Value:
    """A value of a field, as its type has it."""
    check_numbers(value, field.annotation, *location)
    try:
        checked: Value = TypeAdapter(field.rebuild_annotation()).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            group, key = (str(part) for part in first["loc"])
            raise mistake(unknown_key(key, sorted(_GROUPS[group].model_fields)), *location, key) from None
        details = InitErrorDetails(
            type=first["type"], loc=(*location, *first["loc"]), input=first["input"], ctx=first.get("ctx", {})
        )
        raise ValidationError.from_exception_data("Sweep", [details]) from None
    return checked


def _range(field: FieldInfo, given: dict[str, Any], location: tuple[str, ...]) -> Range:
    types = set(get_args(field.annotation) or [field.annotation]) - {NoneType}
    if types not in ({int}, {float}):
        raise mistake(
            f"{given} is a range, but the field is not a number; give a value, or a list of choices", *location
        )
    for key in given:
        if key not in _RANGE:
            raise mistake(unknown_key(str(key), list(_RANGE)), *location, str(key))
    low, high = (_end(field, key, given, location) for key in ("low", "high"))
    if low >= high:
        raise mistake(f"low {low} is not below high {high}; swap them, or give one value", *location)
    integer, name = types == {int}, ".".join(location)
    step = given.get("step")
    if step is None:
        return Range(name, low, high, 1 if integer else None, integer)
    if not _is_number(step) or step <= 0 or (integer and step != int(step)):
        wanted = "a whole number" if integer else "a number"
        raise mistake(f"{step!r} is not a step; give {wanted} above 0", *location, "step")
    number_range = Range(name, low, high, int(step) if integer else step, integer)
    if number_range.count > _MOST_IN_A_RANGE:
        raise mistake(
            f"{step!r} makes a range of more than {_MOST_IN_A_RANGE:,} values; give a larger one", *location, "step"
        )
    return number_range


def _end(field: FieldInfo, key: str, given: dict[str, Any], location: tuple[str, ...]) -> float:
    if key not in given:
        raise mistake("missing; a range is {low, high, step}, with both ends", *location, key)
    end = _checked(field, given[key], *location, key)
    if not _is_number(end) or not isinstance(end, int | float):
        raise mistake(f"{given[key]!r} is not an end of a range; give a number", *location, key)
    return end


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
