"""What the variants of a sweep are called: their kind of scheme, then short tags of what tells them apart.

A tag depends on the value alone, not on its position in a list of choices: one more choice leaves every
name as it is. Engine settings that a template gives are all in the name, as the base may have others.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.base import LONGEST_NAME, REPOSITORY
from configs.scheme_base import Tag
from configs.schemes import KINDS, Scheme
from configs.serving import Draft, Ngram, Serving
from configs.space import Template

_OF_BASE = "base"
_TAGS = {
    "max_model_len": "len",
    "max_num_seqs": "seqs",
    "kv_cache_dtype": "kv",
    "speculative": "spec",
    "gpu_memory_utilization": "mem",
    "kv_cache_gib": "kvgib",
    "enforce_eager": "eager",
    "prefix_caching": "prefix",
    "generation_config": "gen",
    "max_num_batched_tokens": "tokens",
    "enable_chunked_prefill": "chunked",
}
"""What stands before the value of an engine setting; any other is called by its own name."""


def telling_fields(templates: Sequence[Template]) -> tuple[str, ...]:
    """The fields of a scheme that vary in one of several templates of the same kind, or from one to another.

    Those that the kind adds to what every scheme has come first.
    """
    kind = templates[0].kind
    fields = list(KINDS[kind].model_fields) if kind else []
    common = fields.index("kind") if kind else 0
    varying = {parameter.field for template in templates for parameter in template.parameters}
    return tuple(
        field
        for field in (*fields[common + 1 :], *fields[:common])
        if field in varying or len({template.value(field) for template in templates}) > 1
    )


def of(scheme: Scheme | None, telling: Sequence[str], served: Mapping[str, Any]) -> str:
    """The name of a variant among those of its kind of scheme, or of the base model where it has none.

    Args:
        telling: the fields of the scheme that tell it apart.
        served: the engine settings that it gives.
    """
    of_scheme = [tag for field in telling if (tag := _tag(scheme, field))] if scheme else []
    name = "-".join([scheme.kind if scheme else _OF_BASE, *of_scheme, *_engine_tags(served)])
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 7]}-{_hash(name)}"


def _tag(scheme: Scheme, field: str) -> str:
    """Empty where a scheme sets nothing beyond what its kind does anyway: no number, the usual layers."""
    about = KINDS[scheme.kind].model_fields[field]
    prefix = next((data.prefix for data in about.metadata if isinstance(data, Tag)), field.replace("_", ""))
    default, value = about.get_default(), getattr(scheme, field)
    return "" if value == default and (value is None or isinstance(value, tuple)) else _text(prefix, value)


def _engine_tags(served: Mapping[str, Any]) -> Iterator[str]:
    """In the order of the settings, vLLM's own arguments last."""
    arguments = served.get("engine_args", {})
    given = [(name, served[name]) for name in Serving.model_fields if name in served and name != "engine_args"]
    for name, value in (*given, *sorted(arguments.items())):
        yield _text(_TAGS.get(name, name.replace("_", "")), value)


def _text(prefix: str, value: Any) -> str:
    match value:
        case bool():
            text = prefix if value else f"no{prefix}"
        case tuple():
            text = prefix + _hash("\n".join(value))
        case Path():
            text = f"{prefix}{value.stem}-{_hash(os.path.relpath(value, REPOSITORY))}"
        case float():
            text = prefix + repr(value).removesuffix(".0")
        case Draft():
            text = _text(f"{value.kind}{value.num_speculative_tokens}-", value.path)
        case Ngram():
            usual = Ngram(kind=value.kind, num_speculative_tokens=value.num_speculative_tokens)
            looked_for = f"-lookup{value.prompt_lookup_min}to{value.prompt_lookup_max}"
            text = f"{value.kind}{value.num_speculative_tokens}{looked_for if value != usual else ''}"
        case _:
            text = f"{prefix}{value}"
    return re.sub(r"[^a-z0-9._-]+", "", text.lower())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]
