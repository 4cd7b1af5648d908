"""The store of finished steps.

A step's folder is named by its fingerprint. Work happens in a temporary sibling, signed by its
writer; the record is written last and the folder renamed into place once all of it is on the disk, so
whatever has a record is whole, and what has none does not exist. Beside the records every experiment
says which of them its latest run refers to; `flows/clean.py` finds the others.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.base import UserError
from flows.steps import Step
from flows.writers import WRITER, Writer

RECORD = "record.json"
DEPLOYMENT = "deployment.json"
"""In an experiment's folder: the latest deployment that passed its verification."""
_STEPS = "steps.json"
_DRAFT = re.compile(r"\.[0-9a-f]{16}\.[0-9a-f]{8}\.partial")
_FINISHED = re.compile(r"[0-9a-f]{16}")


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
        self.experiments = root / "experiments"

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
        folder = draft_name(final)
        draft, started = Draft(folder), time.time()
        try:
            folder.mkdir(parents=True)
            Writer.this().sign(folder)
            yield draft
            seconds = time.time() - started
            (folder / WRITER).unlink()
            record = {
                "kind": step.kind,
                "variant": step.variant,
                "fingerprint": step.fingerprint,
                "identity": step.identity,
                "result": draft.result,
                "seconds": seconds,
                "finished_at": time.time(),
                "where": draft.where,
            }
            _write(folder / RECORD, record)
            for path in (*folder.rglob("*"), folder):
                _flush(path)
            put_in_place(folder, final)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def all(self) -> list[Record]:
        """Every record of every experiment."""
        return [Record.read(path.parent) for path in sorted(self.records.glob(f"*/[!.]*/{RECORD}"))]

    def refer(self, experiment: str, steps: Iterable[Step]) -> None:
        """Leave in the store which steps an experiment is about, in the place of what it said before.

        A run does so before it looks for records: whatever it finds then is not cleaned away.
        """
        named = [{"variant": step.variant, "kind": step.kind, "fingerprint": step.fingerprint} for step in steps]
        self.keep(experiment, _STEPS, named)

    def keep(self, experiment: str, name: str, content: Any) -> None:
        """Write a JSON file into an experiment's folder, whole or not at all."""
        file = self.experiments / experiment / name
        file.parent.mkdir(parents=True, exist_ok=True)
        written = file.with_name(f".{name}.{uuid.uuid4().hex[:8]}")
        try:
            _write(written, content)
            _flush(written)
            written.rename(file)
        finally:
            written.unlink(missing_ok=True)
        _flush(file.parent)

    def referred(self) -> set[str]:
        """Fingerprints of the steps that any experiment refers to, what it has deployed included.

        Raises:
            UserError: what an experiment refers to cannot be read, so nothing may count as unreferred.
        """
        found: set[str] = set()
        for file in self.experiments.glob(f"*/{_STEPS}"):
            try:
                found |= {step["fingerprint"] for step in json.loads(file.read_text())}
            except (ValueError, TypeError, KeyError):
                raise UserError(
                    f"{file}: not a list of steps; run the experiment again, or remove the file if it is given up"
                ) from None
        for file in self.experiments.glob(f"*/{DEPLOYMENT}"):
            try:
                found.add(json.loads(file.read_text())["checkpoint"])
            except (ValueError, TypeError, KeyError):
                raise UserError(
                    f"{file}: not a deployment; deploy again, or remove the file if it is given up"
                ) from None
        return found

    def folders(self) -> Iterator[Path]:
        """Every folder that the store itself has named, of finished steps and of drafts; no links."""
        for kind in sorted(self.records.iterdir()):
            for folder in sorted(kind.iterdir()) if _is_folder(kind) else ():
                if _is_folder(folder) and (_FINISHED.fullmatch(folder.name) or is_draft(folder)):
                    yield folder


def draft_name(final: Path) -> Path:
    """A new name beside a finished step's folder that nobody takes for a record."""
    return final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.partial")


def is_draft(folder: Path) -> bool:
    return _DRAFT.fullmatch(folder.name) is not None


def put_in_place(draft: Path, final: Path) -> None:
    """Give a whole folder the name of a finished step, for good; where there is a record, that one stays."""
    try:
        draft.rename(final)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not (final / RECORD).is_file():
            raise
    _flush(final.parent)


def nearest(step: Step, records: Iterable[Record]) -> Record | None:
    """The latest record of the same kind and variant: what a changed step is compared with."""
    same = [record for record in records if (record.kind, record.variant) == (step.kind, step.variant)]
    return max(same, key=lambda record: record.finished_at, default=None)


def difference(step: Step, record: Record) -> list[str]:
    """The fields, as dotted names, in which a step differs from a finished one."""
    mine, theirs = _flat(step.identity), _flat(record.identity)
    return sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): value}


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True))


def _flush(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
