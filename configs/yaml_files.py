"""YAML that people write, read within bounds and without running anything.

Its events are looked at before anything is built of them: how deep they nest, how many values they stand for (an
alias stands for all that it names, so a file of a few lines can stand for more than a machine holds), and whether a
key stands twice, of which YAML's loader would silently keep the last.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from configs.base import OneLine

MOST_BYTES = 1_000_000
_MOST_DEEP = 100
_MOST_VALUES = 100_000
_MOST_BY_ALIASES = 10_000


class Malformed(OneLine):
    """What is wrong with a file or a value, without its name."""


class Reader(yaml.CSafeLoader):
    """Plain values only: no sets, whose order no two processes share, nor what else JSON has no word for but a date. A
    value that is not of the kind that it looks like, or that its tag says, is reported with its line."""

    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: constructor
        for tag, constructor in yaml.CSafeLoader.yaml_constructors.items()
        if str(tag).rpartition(":")[2] not in ("binary", "omap", "pairs", "set")
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, Malformed):
            raise
        except Exception:  # whatever the constructor of a tag falls over
            kind = node.tag.rpartition(":")[2]
            what = {"int": "number", "float": "number", "timestamp": "date", "bool": "boolean"}.get(kind, kind)
            raise Malformed(
                f"not valid YAML: the value at line {_line(node)} is not a readable {what}; quote it"
            ) from None


def read(file: Path, loader: type[Reader] = Reader) -> Any:
    """What a file holds: UTF-8, with or without a byte order mark, lines ended in any way.

    Raises:
        Malformed: it is no such file, or not within the bounds.
    """
    return parse(text(file), loader)


def text(file: Path) -> str:
    """The text of a file of people's.

    Raises:
        Malformed: it is too large, cannot be read, or is not UTF-8.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise Malformed(f"cannot be read ({error.strerror})") from None
    if len(content) > MOST_BYTES:
        raise Malformed(f"larger than {MOST_BYTES // 1_000_000} MB, the limit for a file of this kind")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def parse(text: str, loader: type[Reader] = Reader) -> Any:
    """What a text holds.

    Raises:
        Malformed: it is no YAML, or not within the bounds.
    """
    try:
        _check(text, loader)
        return yaml.load(text, loader)  # Reader is a safe loader
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise Malformed(f"not valid YAML: {' '.join(str(error).split())}") from None


@dataclass
class _Open:
    """A list or mapping that has not ended yet."""

    anchor: str | None
    is_mapping: bool
    values: int = 1
    items: int = 0
    keys: set[str] = field(default_factory=set)


def _check(text: str, loader: type[Reader]) -> None:
    opened = [_Open(None, False)]
    named: dict[str, int] = {}
    by_aliases = 0
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.NodeEvent):
            _count_item(opened[-1], event)
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            if len(opened) > _MOST_DEEP:
                raise Malformed(f"line {_line(event)}: nested deeper than {_MOST_DEEP} levels; flatten it")
        elif isinstance(event, yaml.CollectionEndEvent):
            done = opened.pop()
            opened[-1].values += done.values
            if done.anchor:
                named[done.anchor] = done.values
        elif isinstance(event, yaml.ScalarEvent):
            opened[-1].values += 1
            if event.anchor:
                named[event.anchor] = 1
        elif isinstance(event, yaml.AliasEvent):
            if any(one.anchor == event.anchor for one in opened):
                raise Malformed(f"line {_line(event)}: the alias {event.anchor!r} contains itself; write the value out")
            stands_for = named.get(str(event.anchor), 1)
            opened[-1].values += stands_for
            by_aliases += stands_for
            if by_aliases > _MOST_BY_ALIASES:
                raise Malformed(f"its aliases expand to more than {_MOST_BY_ALIASES:,} values; write them out")
        if sum(one.values for one in opened[-2:]) > _MOST_VALUES:
            raise Malformed(f"contains more than {_MOST_VALUES:,} values; give fewer")


def _count_item(parent: _Open, event: yaml.NodeEvent) -> None:
    """Note an item of a list or mapping; of a mapping every other one is a key."""
    is_key = parent.is_mapping and parent.items % 2 == 0
    parent.items += 1
    if is_key and isinstance(event, yaml.ScalarEvent):
        if event.value in parent.keys:
            raise Malformed(f"line {_line(event)}: {event.value!r:.60} appears twice; remove one")
        parent.keys.add(event.value)


def _line(of: Any) -> int:
    return int(of.start_mark.line) + 1
