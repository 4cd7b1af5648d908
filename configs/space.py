"""A part of a sweep's space: schemes of one kind, with the fields that vary and what they vary over."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from types import NoneType
from typing import Any, Self, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticKnownError

from configs.base import Settings, check_numbers, mistake, unknown_key
from configs.schemes import KINDS, Scheme

_LARGEST = 1e18
_MOST_IN_A_RANGE = 1_000_000_000
Value = bool | int | float | str | Path | tuple[str, ...] | None
"""What a field of a scheme may hold."""


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


class Template(Settings):
    """A kind of scheme, and for each of its fields a value, a list of choices or {low, high, step}.

    Choices for a field that is itself a list, such as `ignore`, are a list of lists.
    """

    model_config = ConfigDict(extra="allow")  # the fields are those of the kind, checked against it

    kind: str

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind not in KINDS:
            expected = ", ".join(repr(kind) for kind in KINDS)
            context = {"discriminator": "kind", "tag": self.kind, "expected_tags": expected}
            raise PydanticKnownError("union_tag_invalid", context)
        self.scheme({parameter.field: parameter.at(0) for parameter in self.parameters})
        return self

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The fields that vary, in the order of the template."""
        return tuple(field for field in self._fields.values() if isinstance(field, Choices | Range))

    @cached_property
    def fixed(self) -> dict[str, Value]:
        """The fields that the template gives one value."""
        return {name: field for name, field in self._fields.items() if not isinstance(field, Choices | Range)}

    @property
    def stepless(self) -> tuple[Range, ...]:
        """The ranges that have no step."""
        return tuple(p for p in self.parameters if isinstance(p, Range) and p.step is None)

    @property
    def combinations(self) -> int:
        """Of all values, ranges without a step left out of the count."""
        return prod(p.count for p in self.parameters if p not in self.stepless)

    def value(self, field: str) -> Value:
        """What every scheme of the template has in a field that does not vary."""
        default: Value = KINDS[self.kind].model_fields[field].get_default()
        return self.fixed.get(field, default)

    def every(self) -> Iterator[dict[str, Value]]:
        """Every combination of values of the fields that vary, the first field changing last."""
        return self._product([parameter.at(n) for n in range(parameter.count)] for parameter in self.parameters)

    def corners(self) -> Iterator[dict[str, Value]]:
        """The combinations of every choice and both ends of every range."""
        return self._product(parameter.ends for parameter in self.parameters)

    def scheme(self, values: Mapping[str, Value]) -> Scheme:
        """The scheme of one combination, without a name and without what changes nothing in it."""
        settings = {"kind": self.kind, **self.fixed, **values}
        return KINDS[self.kind].model_validate(settings).bare

    def _product(self, values: Iterable[Iterable[Value]]) -> Iterator[dict[str, Value]]:
        names = [parameter.field for parameter in self.parameters]
        return (dict(zip(names, combination, strict=True)) for combination in product(*values))

    @cached_property
    def _fields(self) -> dict[str, Value | Parameter]:
        return {name: self._field(name, given) for name, given in (self.model_extra or {}).items()}

    def _field(self, name: str, given: Any) -> Value | Parameter:
        fields = {key: field for key, field in KINDS[self.kind].model_fields.items() if key not in ("kind", "name")}
        if name == "name":
            raise mistake(
                f"{given!r} is not used: schemes of a sweep are named after their varying fields; remove it", name
            )
        if name not in fields:
            raise mistake(unknown_key(name, sorted(fields)), name)
        field = fields[name]
        if isinstance(given, dict):
            return _range(name, field, given)
        if not _is_choices(field, given):
            return _checked(field, given, name)
        if not given:
            raise mistake("[] has no choice; list at least one", name)
        values = (_checked(field, choice, name, position) for position, choice in enumerate(given))
        return Choices(name, tuple(dict.fromkeys(values)))


def _is_choices(field: FieldInfo, given: Any) -> bool:
    if get_origin(field.annotation) is tuple:
        return isinstance(given, list) and any(isinstance(item, list) for item in given)
    return isinstance(given, list)


def _checked(field: FieldInfo, value: Any, *location: str | int) -> Value:
    """A value of a field, as the scheme's type has it."""
    check_numbers(value, field.annotation, *location)
    try:
        checked: Value = TypeAdapter(field.rebuild_annotation()).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        details = InitErrorDetails(
            type=first["type"], loc=(*location, *first["loc"]), input=first["input"], ctx=first.get("ctx", {})
        )
        raise ValidationError.from_exception_data("Sweep", [details]) from None
    return checked


def _range(name: str, field: FieldInfo, given: dict[str, Any]) -> Range:
    types = set(get_args(field.annotation) or [field.annotation]) - {NoneType}
    if types not in ({int}, {float}):
        raise mistake(f"{given} is a range, but the field is not a number; give a value, or a list of choices", name)
    for key in given:
        if key not in ("low", "high", "step"):
            raise mistake(unknown_key(str(key), ["low", "high", "step"]), name, str(key))
    low, high = (_end(key, name, field, given) for key in ("low", "high"))
    if low >= high:
        raise mistake(f"low {low} is not below high {high}; swap them, or give one value", name)
    integer = types == {int}
    step = given.get("step")
    if step is None:
        return Range(name, low, high, 1 if integer else None, integer)
    if not _is_number(step) or step <= 0 or (integer and step != int(step)):
        wanted = "a whole number" if integer else "a number"
        raise mistake(f"{step!r} is not a step; give {wanted} above 0", name, "step")
    number_range = Range(name, low, high, int(step) if integer else step, integer)
    if number_range.count > _MOST_IN_A_RANGE:
        raise mistake(
            f"{step!r} makes a range of more than {_MOST_IN_A_RANGE:,} values; give a larger one", name, "step"
        )
    return number_range


def _end(key: str, name: str, field: FieldInfo, given: dict[str, Any]) -> float:
    if key not in given:
        raise mistake("missing; a range is {low, high, step}, with both ends", name, key)
    end = _checked(field, given[key], name, key)
    if not _is_number(end) or not isinstance(end, int | float):
        raise mistake(f"{given[key]!r} is not an end of a range; give a number", name, key)
    return end


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
