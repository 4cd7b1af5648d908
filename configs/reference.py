"""The reference of an experiment file, made from the types that read it: each field's type, default and meaning.

python -m configs.reference > configs/REFERENCE.md
python -m configs.reference --schema > configs/experiment.schema.json    # for editors
"""

import inspect
import json
import sys
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from configs.base import Settings
from configs.experiment import Experiment

_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "none"}
_BOUNDS = {Ge: ("at least", "ge"), Gt: ("above", "gt"), Le: ("at most", "le"), Lt: ("below", "lt")}
_MANY = 1_000_000
"""From which on a bound only keeps nonsense out, and is not worth a reader's time."""


def markdown() -> str:
    """All sections, the whole file's first, each under the keys that lead to it."""
    parts = [
        "# Every setting of an experiment",
        "Made by `python -m configs.reference > configs/REFERENCE.md` from the types in this folder. Editors read "
        "`experiment.schema.json`, which `--schema` makes.",
    ]
    return "\n\n".join([*parts, *(_section(path, settings) for path, settings in _sections())]) + "\n"


def schema() -> str:
    """JSON Schema of an experiment file."""
    document = Experiment.model_json_schema()
    of_a_task = document["$defs"]["Task"]
    document["$defs"]["Task"] = {"anyOf": [{"type": "string", "description": "Its name."}, of_a_task]}
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _sections() -> Iterator[tuple[str, type[Settings]]]:
    """Every type of settings once, in the order in which a reader of the file meets them."""
    waiting: list[tuple[str, type[Settings]]] = [("", Experiment)]
    seen: set[type[Settings]] = set()
    while waiting:
        path, settings = waiting.pop(0)
        if settings in seen:
            continue
        seen.add(settings)
        yield path, settings
        waiting += [
            (f"{path}.{name}".lstrip("."), inner)
            for name, field in settings.model_fields.items()
            for inner in _settings_in(field.annotation)
        ]


def _settings_in(annotation: Any) -> Iterator[type[Settings]]:
    if inspect.isclass(annotation) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from _settings_in(inner)


def _section(path: str, settings: type[Settings]) -> str:
    kind = settings.model_fields.get("kind")
    of_kind = f" of kind {_type(kind.annotation, ())}" if kind else ""
    about = " ".join((inspect.getdoc(settings) or "").split()) if settings.__doc__ is not BaseModel.__doc__ else ""
    rows = [_row(name, field) for name, field in settings.model_fields.items() if name != "kind"]
    table = "\n".join(["| field | what it takes | default | meaning |", "|---|---|---|---|", *rows])
    return "\n\n".join(filter(None, [f"## {f'`{path}`' if path else 'The file'}{of_kind}", about, table]))


def _row(name: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").split())
    cells = [f"`{name}`", _type(field.annotation, field.metadata), _default(field), meaning]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is PydanticUndefined or isinstance(field.default, Settings):
        return ""
    return f"`{json.dumps(field.default, default=str)}`"


def _type(annotation: Any, metadata: Any) -> str:
    """In words, with what bounds it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0], inner[1:])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type(one, () if one is type(None) else metadata) for one in inner))
    if origin is tuple:
        return f"a list of: {_type(inner[0], ())}" if inner[-1] is Ellipsis else f"a list of {len(inner)}"
    if origin is dict:
        return f"by name: {_type(inner[1], ())}"
    if inspect.isclass(annotation) and issubclass(annotation, Settings):
        return "a section"
    words = _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)).lower())
    return ", ".join([words, *_bounds(metadata)])


def _bounds(metadata: Any) -> Iterator[str]:
    for one in metadata:
        for inner in getattr(one, "metadata", [one]):
            if type(inner) in _BOUNDS:
                words, name = _BOUNDS[type(inner)]
                if abs(bound := getattr(inner, name)) < _MANY:
                    yield f"{words} {bound:g}"


if __name__ == "__main__":
    print(schema() if "--schema" in sys.argv[1:] else markdown(), end="")
