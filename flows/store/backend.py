"""What a store needs of its storage: a folder (`flows/store/folder.py`) or an object store
(`flows/store/objects.py`). Both keep to one promise: what has a record is whole, what has none does not exist."""

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

from actors.as_json import Misfit
from flows.store import results
from flows.store.writers import Writer

RECORD = "record.json"
SCHEMA = 1
"""Of a record's keys. Raised where an older version of this project could not read a record any more; a record without
a number is of 1."""
_KEYS: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "variant": str,
    "fingerprint": str,
    "identity": dict,
    "result": dict,
    "seconds": (int, float),
    "finished_at": (int, float),
    "where": dict,
}
FINISHED = re.compile(r"[0-9a-f]{16}")


class Broken(Exception):
    """Why a record cannot be read."""


class Newer(Broken):
    """A record of a later version of this project."""


def parsed(content: bytes, step: str) -> dict[str, Any]:
    """What a record says, its result as the type that its kind has; keys that are not known yet are for later versions.

    Args:
        step: its name under the root, `records/KIND/FINGERPRINT`.

    Raises:
        Broken: it is none, or not all of its figures are numbers, or its result does not fit its kind.
    """
    try:
        record = json.loads(content, parse_constant=_no_number, parse_float=_figure)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise Broken("is not a JSON object; it is truncated, or not a record")
    schema = record.pop("schema", 1)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise Newer(f"is of a later version of this project (schema {schema!r:.20}, this one reads {SCHEMA})")
    for key, type_ in _KEYS.items():
        if not isinstance(record.get(key), type_):
            raise Broken(f"has no readable `{key}`")
    kind = step.split("/")[1]
    if record["kind"] != kind:
        raise Broken(f"belongs to a step of another kind ({record['kind']!r:.20})")
    try:
        record["result"] = results.read(kind, record["result"])
    except Misfit as misfit:
        raise Broken(f"its result {misfit}") from None
    return record


def as_text(record: dict[str, Any]) -> bytes:
    """A record as it is written.

    Raises:
        RuntimeError: a figure in it is not a number, so that no decision could rest on it.
    """
    try:
        return json.dumps(record, indent=1, sort_keys=True, allow_nan=False).encode()
    except ValueError as error:
        raise RuntimeError(f"the result of {record['kind']} cannot be recorded: {error}") from None


def _figure(word: str) -> float:
    figure = float(word)
    return figure if isfinite(figure) else _no_number(word)


def _no_number(word: str) -> float:
    raise Broken(f"contains {word:.20}, which is not a figure for a decision")


class Files(Protocol):
    """The files of a finished step."""

    @property
    def name(self) -> str:
        """Where they lie, under the store's root."""

    def held(self) -> AbstractContextManager[Path]:
        """A folder on this machine that has them for the length of the block."""

    def held_on(self, node: str) -> AbstractContextManager[Path]:
        """The same on a node of the cluster, by its id."""

    def kept(self) -> tuple[Path, tuple[int, ...]]:
        """A folder on this machine that has them as long as this process lives, or any that is passed the
        descriptors."""


class Work(Protocol):
    """A step under way."""

    @property
    def folder(self) -> Path:
        """On this machine."""

    def on(self, node: str) -> AbstractContextManager[Path]:
        """The folder that a node works in; what it has written there belongs to the step after the block."""

    def finish(self, record: dict[str, Any]) -> None:
        """Give it its record, once all of it is there; where there is a record, that one stays."""

    def discard(self) -> None:
        """Leave nothing that has no record."""


@dataclass(frozen=True)
class Entry:
    """What a store has of a step: finished, or a draft that is under way or was left."""

    name: str
    """Under the store's root."""
    fingerprint: str
    is_draft: bool
    has_record: bool
    bytes: int
    changed_at: float
    writer: Writer | None
    """Of a draft."""
    linked_bytes: int = 0
    """Of files that have a name elsewhere, too, as MLflow's models do: their space is free once that is gone."""


class Backend(Protocol):
    """Where a store lies."""

    @property
    def root(self) -> Path | str:
        """Its folder, or its address."""

    def read(self, name: str) -> bytes | None:
        """A file; None where there is none."""

    def read_all(self, pattern: str) -> dict[str, bytes]:
        """Every file whose name fits a pattern, by that name."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file of an experiment, whole or not at all."""

    def find(self, step: str) -> tuple[dict[str, Any], Files] | None:
        """The record and the files of a finished step, by its name under the root.

        Raises:
            Broken: there is a record that cannot be read.
        """

    def all(self, passed_over: Callable[[str, Broken], None]) -> list[tuple[dict[str, Any], Files]]:
        """Those of every finished step. A record that cannot be read is passed over, and reported by its name."""

    def set_aside(self, step: str) -> None:
        """Take what bears a broken record out of the way of a step that is done again. Its files stay, as a draft that
        nobody writes to any more."""

    def begin(self, step: str) -> Work:
        """A step that begins."""

    def near(self, node: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What a function makes of files that a node sees."""

    def scratch(self, node: str, logs: Path) -> AbstractContextManager[Path]:
        """A folder that a node can write into, gone after the block."""

    def check_usable(self) -> None:
        """Raise UserError where nothing can be written from this machine."""

    def entries(self) -> list[Entry]:
        """Whatever the store itself has named.

        Raises:
            UserError: there are no records at all.
        """

    def remove(self, entry: Entry, needed: Callable[[], bool]) -> bool:
        """Remove an entry, its record first; False, and nothing is lost, where it is `needed` after all.

        Raises:
            OSError: it cannot be removed.
        """


def no_records(root: Path | str) -> str:
    return f"--store: {root} contains no records; give the storage.root of your experiments"
