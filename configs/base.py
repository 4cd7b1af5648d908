"""The one base of every setting: frozen, and closed to unknown keys."""

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
