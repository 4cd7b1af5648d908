"""A part of a sweep's space: a scheme and a way to serve it, each with the fields that vary and what they vary over."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import product
from math import prod
from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticKnownError

from configs.base import Settings, mistake, unknown_key
from configs.parameters import Choices, Parameter, Range, Value, read
from configs.schemes import KINDS, Scheme
from configs.serving import Serving
from configs.variants import Variant

SERVING = "serving"
_ARGUMENTS = "engine_args"
_PLAIN: Any = str | int | float | bool


class Template(Settings):
    """A kind of scheme, and for each of its fields and each engine setting a value, a list of choices or
    {low, high, step}. Without a kind it is the base model, served in other ways.

    Choices for a field that is itself a list, such as `ignore`, are a list of lists.
    """

    model_config = ConfigDict(extra="allow")  # the fields are those of the kind, checked against it

    kind: str | None = None
    """The kind of scheme; None: the base model, which needs `serving`."""
    serving: dict[str, Any] = Field(default_factory=dict)
    """Engine settings that differ from the experiment's `serving`, the same that `variants` may change; of
    `engine_args`, single arguments. If a template with a `kind` has any, and no template without one has the same,
    the base model is tried with them, too: a scheme is deployed only if it beats the best-tuned base."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind is None and (self.model_extra or not self.serving):
            raise mistake("missing; name a kind of scheme, or give `serving` alone for the base model", "kind")
        if self.kind is not None and self.kind not in KINDS:
            expected = ", ".join(repr(kind) for kind in KINDS)
            context = {"discriminator": "kind", "tag": self.kind, "expected_tags": expected}
            raise PydanticKnownError("union_tag_invalid", context)
        first = {parameter.field: parameter.at(0) for parameter in self.parameters}
        self.variant("first", self.scheme(first), self.served(first))
        return self

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The fields that vary, in the order of the template; those of `serving` come last."""
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

    @property
    def settings(self) -> frozenset[str]:
        """The engine settings that it gives, by their keys."""
        return frozenset(name for name in self._fields if name.startswith(f"{SERVING}."))

    @property
    def of_base(self) -> "Template":
        """The base model, served in the same ways."""
        return Template(serving=self.serving)

    def value(self, field: str) -> Value:
        """What every scheme of the template has in a field that does not vary."""
        default: Value = self._scheme_fields[field].get_default()
        return self.fixed.get(field, default)

    def every(self) -> Iterator[dict[str, Value]]:
        """Every combination of values of the fields that vary, the first field changing last."""
        return self._product([parameter.at(n) for n in range(parameter.count)] for parameter in self.parameters)

    def corners(self) -> Iterator[dict[str, Value]]:
        """The combinations of every choice and both ends of every range."""
        return self._product(parameter.ends for parameter in self.parameters)

    def scheme(self, values: Mapping[str, Value]) -> Scheme | None:
        """The scheme of one combination, without a name and without what changes nothing in it; None for the base
        model."""
        if self.kind is None:
            return None
        given = {name: value for name, value in {**self.fixed, **values}.items() if name not in self.settings}
        return KINDS[self.kind].model_validate({"kind": self.kind, **given}).bare

    def served(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """The engine settings of one combination, as a variant gives them."""
        served: dict[str, Any] = {}
        for key, value in {**self.fixed, **values}.items():
            if key in self.settings:
                _, name, *argument = key.split(".", 2)
                if argument:
                    served.setdefault(name, {})[argument[0]] = value
                else:
                    served[name] = value
        return served

    @staticmethod
    def variant(name: str, scheme: Scheme | None, served: Mapping[str, Any]) -> Variant:
        """A variant of one combination."""
        named = scheme.model_copy(update={"name": name}) if scheme else None
        return Variant.model_validate({"name": name, "scheme": named, **({SERVING: served} if served else {})})

    def _product(self, values: Iterable[Iterable[Value]]) -> Iterator[dict[str, Value]]:
        names = [parameter.field for parameter in self.parameters]
        return (dict(zip(names, combination, strict=True)) for combination in product(*values))

    @cached_property
    def _fields(self) -> dict[str, Value | Parameter]:
        """By their keys, such as `group_size`, `serving.max_num_seqs` and `serving.engine_args.block_size`."""
        fields = {
            name: read(self._of_scheme(name, given), given, name) for name, given in (self.model_extra or {}).items()
        }
        for name, given in self.serving.items():
            if name != _ARGUMENTS:
                fields[f"{SERVING}.{name}"] = read(_of_engine(name), given, SERVING, name)
                continue
            if not isinstance(given, dict):
                raise mistake(f"{given!r:.60} is not a mapping of arguments to values", SERVING, name)
            for argument, choice in given.items():
                where = (SERVING, name, str(argument))
                fields[".".join(where)] = read(_of_argument(choice), choice, *where)
        return fields

    @property
    def _scheme_fields(self) -> dict[str, FieldInfo]:
        return KINDS[self.kind].model_fields if self.kind else {}

    def _of_scheme(self, name: str, given: Any) -> FieldInfo:
        fields = {key: field for key, field in self._scheme_fields.items() if key not in ("kind", "name")}
        if name == "name":
            raise mistake(
                f"{given!r} is not used: variants of a sweep are named after their varying fields; remove it", name
            )
        if name not in fields:
            raise mistake(unknown_key(name, [*sorted(fields), SERVING]), name)
        return fields[name]


def _of_engine(name: str) -> FieldInfo:
    if name not in Serving.model_fields:
        raise mistake(unknown_key(name, sorted(Serving.model_fields)), SERVING, name)
    return Serving.model_fields[name]


def _of_argument(given: Any) -> FieldInfo:
    """Of an argument of vLLM's, which may be of any plain type; a range of whole numbers is one of them alone."""
    if not isinstance(given, dict):
        return FieldInfo(annotation=_PLAIN)
    whole = all(isinstance(given.get(end), int) for end in ("low", "high"))
    return FieldInfo(annotation=int if whole else float)
