"""Recipes and calibration rows as strategies."""

import json
from typing import Any

from hypothesis import strategies as st
from properties.values import changed, figures, garbled, in_yaml, odd

from configs.recipes import MODIFIERS
from configs.schemes import Int4W4A16, Int8W8A8

_OF_SCHEMES = [
    Int8W8A8(kind="int8-w8a8").recipe(),
    Int4W4A16(kind="int4-w4a16", algorithm="awq").recipe(),
]


@st.composite
def _listed(draw: st.DrawFn) -> dict[str, Any]:
    """A recipe of listed modifiers with any of their settings."""
    names = draw(st.lists(st.sampled_from(sorted(MODIFIERS)), min_size=1, max_size=3, unique=True))
    settings = {
        name: draw(st.dictionaries(st.sampled_from(MODIFIERS[name]), figures() | odd(), max_size=3)) for name in names
    }
    return {"quantize_stage": {"quantize_modifiers": settings}}


def recipes() -> st.SearchStrategy[bytes]:
    """Recipe files: of listed modifiers or the schemes' own, most of them with something else in them, or damaged."""
    content = (
        (_listed() | st.sampled_from(_OF_SCHEMES))
        .flatmap(lambda recipe: st.just(recipe) | changed(recipe))
        .map(in_yaml)
    )
    return content | content.flatmap(garbled)


def rows() -> st.SearchStrategy[bytes]:
    """JSON lines of texts and chats, most of them with something else in them, or damaged."""
    message = {"role": "user", "content": "a"}
    valid = st.sampled_from(
        [{"text": "a b"}, {"messages": [message, {"role": "assistant", "content": None, "tool_calls": []}]}]
    )
    row = valid.flatmap(changed).map(lambda row: json.dumps(row, default=str, skipkeys=True).encode())
    lines = st.lists(row | st.sampled_from([b"", b" ", b"[]"]), min_size=1, max_size=4).map(b"\n".join)
    return lines | lines.flatmap(garbled)
