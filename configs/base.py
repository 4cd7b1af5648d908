"""The one base of every setting: frozen, and closed to unknown keys."""

import difflib
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

REPOSITORY = Path(__file__).resolve().parent.parent


_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes: what Linux takes
_LARGEST = 1 << 63
_LONGEST_LINE = 1000


def sound_path(value: Any) -> Any:
    """Refuse what no system takes for a path, before anybody asks one."""
    text = os.fspath(value) if isinstance(value, str | Path) else None
    if text is None:
        return value
    if not text.strip():
        raise ValueError("empty; give a path")
    if "://" in text:
        raise ValueError(f"{text!r:.80} is an address; give a path")
    if any(ord(character) < 32 for character in text):
        raise ValueError(f"{text!r:.80} contains a control character; give a path without one")
    if text.startswith("~"):
        raise ValueError(f"{text!r:.80} begins with the home of an unknown user; write out the path")
    encoded = os.fsencode(text)
    if len(encoded) > _LONGEST_PATH or any(len(part) > _LONGEST_NAME for part in encoded.split(b"/")):
        raise ValueError(f"{text!r:.40} is too long for a path; give a shorter one")
    return value


SoundPath = Annotated[Path, BeforeValidator(sound_path)]
"""A path that a system takes; whether anything is there, it does not say."""
Seed = Annotated[int, Field(ge=0, lt=1 << 31)]
"""Of random numbers, as every library takes it."""
REVISION = r"^[\w.-]+(/[\w.-]+)*$"
"""A branch, a tag or a commit on a hub."""
LONGEST_NAME = 80
"""Characters of what names folders, models and deployments."""


class Settings(BaseModel):
    """A group of settings. A default lives once, on the field; an unknown key is an error, and so is a number that is
    none: `true`, infinity, or one beyond 64 bits."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, values: Any) -> Any:
        for name, field in cls.model_fields.items() if isinstance(values, dict) else ():
            if name in values:
                check_numbers(values[name], field.annotation, name)
        return values


def check_numbers(value: Any, annotation: Any, *location: str | int) -> None:
    """Raise ValidationError where a field of a type takes numbers and no booleans, and a value, or an item of it, is
    a boolean or too large."""
    for one in value if isinstance(value, list | tuple) else (value,):
        if isinstance(one, bool) and _takes_numbers_only(annotation):
            raise mistake(f"{one} is not a number; give one", *location)
        if isinstance(one, int) and abs(one) >= _LARGEST:
            raise mistake(f"a whole number of {one.bit_length()} bits; at most 63 are allowed", *location)


def mistake(message: str, *location: str | int) -> ValidationError:
    """A mistake at a location inside the settings that are being checked."""
    kind = PydanticCustomError("value_error", "{text}", {"text": message})
    return ValidationError.from_exception_data("Settings", [InitErrorDetails(type=kind, loc=location, input=None)])


@cache
def _takes_numbers_only(annotation: Any) -> bool:
    within = set(_types(annotation))
    return bool(within & {int, float}) and bool not in within


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from _types(inner)


class OneLine(Exception):
    """An error whose message is one line, whatever was in the input that it repeats."""

    def __init__(self, message: str) -> None:
        super().__init__(in_one_line(message))


class UserError(OneLine):
    """A mistake of the user's, reported before any device is taken.

    The message: what was wrong (field and value), the rule, what to do. The command line prints it and exits with
    code 2.
    """


def in_one_line(text: str) -> str:
    """A text without line breaks, control characters or halves of characters, and with an end."""
    plain = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in " ".join(text.split())
    )
    return plain if len(plain) <= _LONGEST_LINE else f"{plain[:_LONGEST_LINE]} ..."


def unknown_key(key: str, valid: Sequence[str]) -> str:
    """What to say of a key that does not exist: the names that would have been valid, the nearest first."""
    near = difflib.get_close_matches(key[:80], valid, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown key; {hint}valid keys: {', '.join(valid)}"
