"""Experiments as strategies: drawn from the fields of the settings' own types, or from the shipped files."""

import re
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from hypothesis import strategies as st
from properties.values import Route, at, changed, garbled, in_yaml, odd, on_one_line, routes, scalars
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from configs.base import REPOSITORY
from configs.experiment import Experiment
from configs.load import PRESETS
from configs.schemes import KINDS
from configs.serving import Serving
from configs.space import Template

SHIPPED = sorted((REPOSITORY / "configs/experiments").glob("*.yaml"))
_LETTERS = st.characters(codec="ascii")
_FILES = sorted(str(file.relative_to(REPOSITORY)) for file in (REPOSITORY / "configs/tasks").rglob("*.*"))
_IS_GIVEN = st.sampled_from([False, False, False, True])
"""Of an optional field: with all of them, hardly any experiment would fit together."""
_RARELY = st.sampled_from([*[False] * 9, True])


@st.composite
def settings_of(draw: st.DrawFn, model: type[BaseModel]) -> dict[str, Any]:
    """What a file may say of a group of settings: every field that is required and some of the others, each of its
    type and within its bounds. Rules over several fields are not kept to."""
    if model is Template:
        return draw(_templates())
    return {name: draw(values) for name, (must, values) in _fields(model).items() if must or draw(_IS_GIVEN)}


@cache
def _fields(model: type[BaseModel]) -> dict[str, tuple[bool, st.SearchStrategy[Any]]]:
    """Of every field whether it is required, and its values."""
    fields = model.model_fields.items()
    return {name: (field.is_required(), _of(field.annotation, [*field.metadata])) for name, field in fields}


def _of(annotation: Any, bounds: list[Any]) -> st.SearchStrategy[Any]:
    """Values of a type, within what stands beside it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _of(inner[0], [*bounds, *_bounds(inner[1:])])
    if origin in (Union, types.UnionType):
        return st.one_of(*(_of(option, bounds) for option in inner))
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is tuple:
        return st.lists(_of(inner[0], []), min_size=int(_bound(bounds, "min_length", 0)), max_size=3)
    if origin is dict:
        return st.dictionaries(_of(inner[0], []), _of(inner[1], []), max_size=2)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return settings_of(annotation)
    return _PLAIN[annotation](bounds)


def _bounds(beside: tuple[Any, ...]) -> list[Any]:
    return [one for mark in beside for one in (mark.metadata if isinstance(mark, FieldInfo) else [mark])]


def _bound(bounds: list[Any], name: str, otherwise: Any) -> Any:
    return next((getattr(one, name) for one in bounds if getattr(one, name, None) is not None), otherwise)


def _whole(bounds: list[Any]) -> st.SearchStrategy[Any]:
    """Small ones mostly, so that they fit beside others."""
    least = _bound(bounds, "ge", 0)
    most = _bound(bounds, "le", _bound(bounds, "lt", least + (1 << 40)))
    return st.integers(least, min(most, least + 8)) | st.integers(least, most) | st.sampled_from([least, most])


def _real(bounds: list[Any]) -> st.SearchStrategy[Any]:
    least, most = _bound(bounds, "ge", _bound(bounds, "gt", 0)), _bound(bounds, "le", _bound(bounds, "lt", 1e6))
    above = _bound(bounds, "gt", None) is not None
    near = st.floats(least, min(most, least + 1), exclude_min=above)
    return near | st.floats(least, most, exclude_min=above) | st.integers(int(least), int(most))


def _words(bounds: list[Any]) -> st.SearchStrategy[str]:
    if pattern := _bound(bounds, "pattern", None):
        at_the_end = re.sub(r"\$(?=$|\|)", r"\\Z", pattern)  # `$` is also before a last line break, in Python alone
        return st.from_regex(at_the_end, alphabet=_LETTERS).filter(lambda text: len(text) < 60)
    return st.text(min_size=int(_bound(bounds, "min_length", 0)), max_size=12)


def _paths(_: list[Any]) -> st.SearchStrategy[str]:
    """Files that are there, and words that might be one."""
    return st.sampled_from([*_FILES, "configs", "store", "~/store", "/dev/null", "a://b"]) | st.text(
        min_size=1, max_size=9
    )


_PLAIN: dict[Any, Callable[[list[Any]], st.SearchStrategy[Any]]] = {
    types.NoneType: lambda _: st.none(),
    bool: lambda _: st.booleans(),
    int: _whole,
    float: _real,
    str: _words,
    Path: _paths,
}


@st.composite
def _templates(draw: st.DrawFn) -> dict[str, Any]:
    """A kind, or none, and for some of its fields and of the engine's settings a value, choices or a range."""
    kind = draw(st.sampled_from([*sorted(KINDS), None]))
    fields = _fields(KINDS[kind]) if kind else {}
    given: dict[str, Any] = {"kind": kind} if kind else {}
    given |= {
        name: draw(_varying(value))
        for name, (must, value) in fields.items()
        if name not in ("kind", "name") and (must or draw(_IS_GIVEN))
    }
    if kind is None or draw(_IS_GIVEN):
        settings = [name for name in _fields(Serving) if draw(_RARELY)] or ["max_num_seqs"]
        given["serving"] = {name: draw(_varying(_fields(Serving)[name][1])) for name in settings}
    return given


def _varying(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    ends = st.fixed_dictionaries({"low": value, "high": value}, optional={"step": scalars() | st.integers(1, 9)})
    return value | st.lists(value, max_size=3) | ends


@st.composite
def whole(draw: st.DrawFn) -> dict[str, Any]:
    """An experiment of the settings' own types, with the rules over several fields kept to as a rule."""
    content = draw(settings_of(Experiment))
    content.setdefault("load", None)
    loads = [content["load"], *content.get("workloads", {}).values()]
    if not draw(_RARELY):
        if content["load"] is None and not content.get("workloads"):
            content["load"] = {"kind": "concurrent", "streams": [1]}
        elif content["load"]:
            content.pop("workloads", None)
        if not content.get("schemes") and not content.get("sweep"):
            content["schemes"] = [{"kind": "fp8-dynamic"}]
        content.setdefault("calibration", {"source": {"kind": "local", "path": _FILES[0]}})
        for load in filter(None, loads):
            if load.get("preset") in PRESETS:
                load.pop("prompt_tokens", None), load.pop("output_tokens", None)
    return content


def sound_or_odd() -> st.SearchStrategy[dict[str, Any]]:
    """Experiments of the types, and shipped ones, with one or several odd values in most of them."""
    shipped = st.sampled_from([yaml.safe_load(file.read_bytes()) for file in SHIPPED])
    return (whole() | shipped).flatmap(changed)


_LINES = [line for file in SHIPPED for line in file.read_text().splitlines()]
_PIECES = [
    "a",
    "kind",
    "&a",
    "*a",
    "<<:",
    "!!set",
    "!!omap",
    "!!pairs",
    "!!binary",
    "!!float",
    "!!timestamp",
    "!!null",
    "!x",
]
_PIECES += [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "?",
    "-",
    "\n",
    "\n  ",
    "\t",
    "'",
    '"',
    "|",
    ">",
    "#",
    "---",
    "...",
    "%TAG ! a",
    "~",
]
_PIECES += [
    *"0123456789",
    "0o7",
    "1_0",
    "0x1",
    "1:30",
    "2026-01-01",
    ".inf",
    "-.nan",
    "yes",
    "1e3",
    "\\x0",
    '"\\ud800"',
    "\u2028",
]


def texts() -> st.SearchStrategy[bytes]:
    """YAML that nobody would write: tokens and lines of files in any order and encoding, or files that are damaged."""
    spelled = st.lists(st.sampled_from(_PIECES) | st.sampled_from(_LINES), max_size=40).map(" ".join)
    lines = st.lists(st.sampled_from(_LINES), max_size=25).map("\n".join)
    encoded = st.builds(
        lambda text, encoding: text.encode(encoding, "replace"),
        spelled | lines,
        st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-32"]),
    )
    damaged = (st.sampled_from([file.read_bytes() for file in SHIPPED]) | whole().map(in_yaml)).flatmap(garbled)
    return encoded | damaged | st.binary(max_size=60)


def overrides() -> st.SearchStrategy[list[str]]:
    """Words behind `--set`: of a key that is there or nearly, and a value that YAML reads or does not."""
    shipped = [yaml.safe_load(file.read_bytes()) for file in SHIPPED]
    values = {".".join(map(str, route)): at(tree, route) for tree in shipped for route in routes(tree)[1:]}
    fitting = st.sampled_from(sorted(values)).map(lambda key: f"{key}={on_one_line(values[key])}")
    ends = st.sampled_from(["", "", ".x", ".0", ".", ".-1", ".²", "\n"])
    key = st.builds("".join, st.tuples(st.sampled_from(sorted(values)), ends)) | st.text(max_size=9)
    value = odd().map(on_one_line) | st.lists(st.sampled_from(_PIECES), max_size=8).map(" ".join) | st.text(max_size=12)
    return st.lists(fitting | st.builds("{}={}".format, key, value) | st.text(max_size=9), min_size=1, max_size=3)


@st.composite
def set_in_place(draw: st.DrawFn) -> tuple[dict[str, Any], Route, Any]:
    """An experiment, where in it a value is to be set, and the value. Every key on the way can be written down."""
    content = draw(st.sampled_from([yaml.safe_load(file.read_bytes()) for file in SHIPPED]) | whole())
    named = [route for route in routes(content)[1:] if all(map(_can_be_named, route))]
    route = draw(st.sampled_from(named))
    last = draw(
        st.just(route[-1]) | (st.sampled_from(["x", "seed", "kind"]) if isinstance(route[-1], str) else st.nothing())
    )
    fitting = st.sampled_from([at(content, route), 1, 4, 128, "auto", True, [1], 0.5, None])
    return content, (*route[:-1], last), draw(fitting | odd())


def _can_be_named(key: Any) -> bool:
    return isinstance(key, int) or (isinstance(key, str) and key != "" and "." not in key and "=" not in key)
