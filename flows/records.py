"""The store of finished steps.

A step's folder is named by its fingerprint. Work happens in a temporary sibling; the record is
written last and the folder renamed into place, so whatever has a record is whole, and what has none
does not exist.
"""

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.steps import Step

RECORD = "record.json"
_PARTIAL = ".partial"


@dataclass(frozen=True)
class Record:
    """A finished step: what was asked, what came out, how long it took and where."""

    folder: Path
    kind: str
    variant: str
    fingerprint: str
    identity: dict[str, Any]
    result: dict[str, Any]
    seconds: float
    finished_at: float
    where: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Record":
        return cls(folder=folder, **json.loads((folder / RECORD).read_text()))


class Draft:
    """A step under way: a folder to work in, and what the record will say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.result: dict[str, Any] = {}
        self.where: dict[str, Any] = {}


class Store:
    """Records by step, in a folder that every node reaches."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.records = root / "records"

    def folder(self, step: Step) -> Path:
        return self.records / step.kind / step.fingerprint

    def find(self, step: Step) -> Record | None:
        folder = self.folder(step)
        return Record.read(folder) if (folder / RECORD).is_file() else None

    def missing(self, steps: Iterable[Step]) -> list[Step]:
        """Those of some steps that have no record yet."""
        return [step for step in steps if self.find(step) is None]

    @contextlib.contextmanager
    def writing(self, step: Step) -> Iterator[Draft]:
        """A draft that becomes the step's record when the block ends well, and vanishes otherwise.

        Two runs that finish the same step at once both succeed: the first record stays.
        """
        final = self.folder(step)
        folder = final.with_name(f".{step.fingerprint}.{uuid.uuid4().hex[:8]}{_PARTIAL}")
        folder.mkdir(parents=True)
        draft, started = Draft(folder), time.time()
        try:
            yield draft
            _write_last(
                folder / RECORD,
                {
                    "kind": step.kind,
                    "variant": step.variant,
                    "fingerprint": step.fingerprint,
                    "identity": step.identity,
                    "result": draft.result,
                    "seconds": time.time() - started,
                    "finished_at": time.time(),
                    "where": draft.where,
                },
            )
            with contextlib.suppress(OSError):
                folder.rename(final)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def nearest(self, step: Step) -> Record | None:
        """The latest record of the same kind and variant: what a changed step is compared with."""
        candidates = [Record.read(path.parent) for path in (self.records / step.kind).glob(f"*/{RECORD}")]
        same = [record for record in candidates if record.variant == step.variant]
        return max(same, key=lambda record: record.finished_at, default=None)


def difference(step: Step, record: Record) -> list[str]:
    """The fields, as dotted names, in which a step differs from a finished one."""
    mine, theirs = _flat(step.identity), _flat(record.identity)
    return sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): value}


def _write_last(path: Path, content: dict[str, Any]) -> None:
    with path.open("w") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
