"""Odd values, and trees of values with odd ones in them: what every strategy here is made of."""

import datetime
from copy import deepcopy
from typing import Any

import yaml
from hypothesis import strategies as st

Route = tuple[Any, ...]
"""From the root of a tree to a value in it: keys and positions."""

_SCALARS: list[Any] = [
    *(None, True, False, 0, 1, -1, 0.5, -0.0, 5e-324, 1e16, 1e308, float("inf"), float("nan"), 2**31, 2**63, 10**30),
    *(
        "",
        " ",
        "a",
        "A",
        "\n",
        "a\nb",
        "\0",
        "\x1b[31m",
        "é\u2028",
        "\udcff",
        "\ud83d",
        "a" * 300,
        "=",
        "a: b",
        "- a",
        "#",
    ),
    *("~", "~nobody/x", "/", "..", "*", "**", "[", "a/b", "://", "s3://b/p", "file:///a", "http://[", "sqlite:///x"),
    *("1", "-1", "1e9", "1e400", "9" * 30, "9" * 5000, " 5 ", "0x10", "1_0", "true", "yes", "null", "nan", "auto"),
    *("base", "kind", "concurrent", "hub", "path", "local", "optuna", "fp8-dynamic", "recipe", "data_files", "root"),
    *(b"", b"a", b"\0", b"\xff", datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1, 1)),
]
_NODES: list[Any] = [
    *(
        [],
        [[]],
        [None],
        [1, 4],
        ["a", "a"],
        [{"name": "a"}, {"name": "a"}],
        {},
        {"kind": "x"},
        {"": 1},
        {1: 2},
        {None: []},
    ),
    *({"low": 0, "high": 1}, {"low": 1, "high": 1e9, "step": 1e-9}, {"a": {"b": {}}}, {"a", "b", "c"}, {1, 4}, {True}),
]


def scalars() -> st.SearchStrategy[Any]:
    """Values without an inside, the ones more often that fit badly."""
    return st.sampled_from(_SCALARS) | st.integers() | st.floats() | st.text(max_size=20)


def odd() -> st.SearchStrategy[Any]:
    """Any value that YAML has a word for."""
    within = st.recursive(
        scalars(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    )
    return st.sampled_from(_NODES).map(deepcopy) | scalars() | within


def figures() -> st.SearchStrategy[Any]:
    """What JSON has a word for, with no number that is none."""
    plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    return st.recursive(
        plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
    )


def routes(value: Any, here: Route = ()) -> list[Route]:
    """To everything in a tree, the tree itself first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(route for key, item in inner for route in routes(item, (*here, key)))]


def at(tree: Any, route: Route) -> Any:
    for key in route:
        tree = tree[key]
    return tree


@st.composite
def changed(draw: st.DrawFn, tree: Any, most: int = 3) -> Any:
    """A tree with some of its values replaced, doubled, added or taken away."""
    content = deepcopy(tree)
    for _ in range(draw(st.integers(0, most))):
        inside = routes(content)[1:]
        if not inside:
            break
        *parents, last = draw(st.sampled_from(inside))
        node, how = (
            at(content, tuple(parents)),
            draw(st.sampled_from(["other", "other", "add", "away", "list", "moved"])),
        )
        if how == "away":
            del node[last]
        elif how == "add" and isinstance(node, dict):
            node[draw(st.sampled_from(["x", "kind", "name", "path", "low", ""]) | st.text(max_size=5))] = draw(odd())
        elif how == "list":
            node[last] = [node[last], draw(odd())]
        elif how == "moved":
            node[last] = deepcopy(at(content, draw(st.sampled_from(inside))))
        else:
            node[last] = draw(odd())
    return content


_SPLICES = [
    b"",
    b"&a ",
    b"*a",
    b"!!int ",
    b"!!set ",
    b"!!binary ",
    b"!!omap ",
    b"!!pairs ",
    b"!x ",
    b"<<: *a\n",
    b"[{",
    b"]}",
]
_SPLICES += [
    b"\t",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\n---\n",
    b"\r",
    b"? ",
    b": ",
    b"- ",
    b"'",
    b'"',
    b"|\n",
    b"%YAML 1.2\n",
]
_SPLICES += [
    b"\xe2\x80\xa8",
    b"NaN",
    b"1e999",
    b"-Infinity",
    b"\\ud800",
    b"null",
    b"[" * 200,
    b"{a: " * 200,
    b"9" * 5000,
]


@st.composite
def garbled(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes with some of them taken away, doubled or replaced."""
    pieces = bytearray(content)
    for _ in range(draw(st.integers(0, 5))):
        start, length = draw(st.integers(0, len(pieces))), draw(st.integers(0, 30))
        cut = bytes(pieces[start : start + length])
        put = st.sampled_from(_SPLICES) | st.binary(max_size=8) | st.just(cut * 2)
        pieces[start : start + length] = draw(put)
    return bytes(pieces)


def in_yaml(value: Any) -> bytes:
    """A value as a YAML file has it; what is no character is escaped."""
    return yaml.dump(value, Dumper=_Plain, sort_keys=False).encode()


def on_one_line(value: Any) -> str:
    """A value as it is written behind `--set KEY=`."""
    return yaml.dump(value, Dumper=_Plain, default_flow_style=True, width=1 << 30, sort_keys=False)


class _Plain(yaml.SafeDumper):
    """Writes every value out: no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
