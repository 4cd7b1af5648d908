"""What the schemes of a sweep are called: their kind, then short tags of what tells them apart.

A tag depends on the value alone, not on its position in a list of choices: one more choice leaves every
name as it is.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from configs.base import REPOSITORY
from configs.scheme_base import Tag
from configs.schemes import KINDS, Scheme
from configs.space import Template


def telling_fields(templates: Sequence[Template]) -> tuple[str, ...]:
    """The fields that vary in one of several templates of the same kind, or from one to another.

    Those that the kind adds to what every scheme has come first.
    """
    fields = list(KINDS[templates[0].kind].model_fields)
    common = fields.index("kind")
    varying = {parameter.field for template in templates for parameter in template.parameters}
    return tuple(
        field
        for field in (*fields[common + 1 :], *fields[:common])
        if field in varying or len({template.value(field) for template in templates}) > 1
    )


def of(scheme: Scheme, telling: Sequence[str]) -> str:
    """The name of a scheme among those of its kind."""
    return "-".join([scheme.kind, *(tag for field in telling if (tag := _tag(scheme, field)))])


def _tag(scheme: Scheme, field: str) -> str:
    """Empty where a scheme sets nothing beyond what its kind does anyway: no number, the usual layers."""
    about = KINDS[scheme.kind].model_fields[field]
    prefix = next((data.prefix for data in about.metadata if isinstance(data, Tag)), field.replace("_", ""))
    default, value = about.get_default(), getattr(scheme, field)
    match value:
        case None | tuple() if value == default:
            text = ""
        case bool():
            text = prefix if value else f"no{prefix}"
        case tuple():
            text = prefix + _hash("\n".join(value))
        case Path():
            text = f"{prefix}{value.stem}-{_hash(os.path.relpath(value, REPOSITORY))}"
        case float():
            text = prefix + repr(value).removesuffix(".0")
        case _:
            text = f"{prefix}{value}"
    return re.sub(r"[^a-z0-9._-]+", "", text.lower())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]
