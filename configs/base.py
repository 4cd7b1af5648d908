"""The one base of every setting: frozen, and closed to unknown keys."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

REPOSITORY = Path(__file__).resolve().parent.parent


class Settings(BaseModel):
    """A group of settings. A default lives once, on the field; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class UserError(Exception):
    """A mistake in what the user asked for, found before any device is taken.

    The message is one line: what was wrong (field and value), the rule, what to do. The command
    line prints it and exits with code 2.
    """


def unknown_key(key: str, valid: Sequence[str]) -> str:
    """What to say of a key that does not exist: the names that would have been valid, the nearest first."""
    near = difflib.get_close_matches(key, valid, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown key; {hint}valid keys: {', '.join(valid)}"
