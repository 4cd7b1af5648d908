"""The store of finished steps.

A step is named by its fingerprint. Its record is written last, when all of its files are where they stay, so whatever
has a record is whole, and what has none does not exist. Beside the records every experiment says which of them its
latest run refers to; `flows/store/clean.py` finds the others. Where and how all this lies is a backend's business.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic

from actors.as_json import Misfit
from configs import json_lines
from configs.base import UserError
from configs.storage import Storage
from flows.store.backend import RECORD, SCHEMA, Backend, Broken, Entry, Files, Newer, Work
from flows.store.folder import FolderBackend
from flows.store.objects import ObjectBackend
from flows.store.results import R, R_co, Result, written
from flows.store.steps import Step

DEPLOYMENT = "deployment.json"
"""In an experiment's folder: the latest deployment that passed its verification."""
_STEPS = "steps.json"


@dataclass(frozen=True)
class Record(Generic[R_co]):
    """A finished step: its settings, its result, how long it took and where."""

    files: Files
    kind: str
    variant: str
    fingerprint: str
    identity: dict[str, Any]
    result: R_co
    seconds: float
    """From when a node began to work on it: waiting for a slot is no part of it."""
    finished_at: float
    where: dict[str, Any]


_FIELDS = tuple(field.name for field in fields(Record) if field.name != "files")
_REPORTED: set[str] = set()


class Draft(Generic[R]):
    """A step under way: a folder to work in, and what the record will say."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.began = time.time()
        self.result: R | None = None
        self.where: dict[str, Any] = {}

    @property
    def folder(self) -> Path:
        """On this machine."""
        return self._work.folder

    def on(self, node: str) -> AbstractContextManager[Path]:
        """The folder that a node works in; what it has written there belongs to the step after the block. It begins
        here."""
        self.began = time.time()
        return self._work.on(node)


class Store:
    """Records by step, in a folder or an object store that every node reaches."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @classmethod
    def of(cls, storage: Storage) -> "Store":
        """The store that an experiment asks for."""
        return cls(FolderBackend(storage.root) if isinstance(storage.root, Path) else ObjectBackend(storage))

    @property
    def root(self) -> Path | str:
        """Its folder, or its address."""
        return self._backend.root

    def find(self, step: Step[R]) -> Record[R] | None:
        """The record of a step; None where there is none that can be read.

        Raises:
            UserError: it is of a later version of this project, which knows better.
        """
        name = _name(step)
        try:
            stored = self._backend.find(name)
        except Newer as newer:
            raise UserError(
                f"{self.root}/{name}/{RECORD}: {newer}; update this project, or set another storage.root"
            ) from None
        except Broken as broken:
            self._pass_over(name, broken)
            return None
        return _record(*stored) if stored else None

    def _pass_over(self, name: str, broken: Broken) -> None:
        """Say once what is not taken for a record; what else is in the store is used as it is."""
        if (line := f"passed over: {self.root}/{name}/{RECORD}: {broken}") not in _REPORTED:
            _REPORTED.add(line)
            print(line, file=sys.stderr)

    def missing(self, steps: Iterable[Step[R]]) -> list[Step[R]]:
        """Those of some steps that have no record yet."""
        return [step for step in steps if self.find(step) is None]

    @contextlib.contextmanager
    def writing(self, step: Step[R]) -> Iterator[Draft[R]]:
        """A draft that becomes the step's record when the block ends well, and vanishes otherwise.

        Two runs that finish the same step at once both succeed: the first record stays.

        Raises:
            RuntimeError: the block has left no result, or none that a record of this kind can hold.
        """
        try:
            self._backend.find(_name(step))
        except Broken:
            self._backend.set_aside(_name(step))
        work = self._backend.begin(_name(step))
        try:
            draft = Draft[R](work)
            yield draft
            work.finish(
                {
                    "schema": SCHEMA,
                    "kind": step.kind,
                    "variant": step.variant,
                    "fingerprint": step.fingerprint,
                    "identity": step.identity,
                    "result": _recordable(step.kind, draft.result),
                    "seconds": time.time() - draft.began,
                    "finished_at": time.time(),
                    "where": draft.where,
                }
            )
        finally:
            work.discard()

    def all(self) -> list[Record[Result]]:
        """Every record of every experiment that can be read."""
        return [_record(*stored) for stored in self._backend.all(self._pass_over)]

    def refer(self, experiment: str, steps: Iterable[Step[Result]]) -> None:
        """Leave in the store which steps an experiment is about, instead of what it said before.

        A run does so before it looks for records: whatever it finds then is not cleaned away.
        """
        named = [{"variant": step.variant, "kind": step.kind, "fingerprint": step.fingerprint} for step in steps]
        self.keep(experiment, _STEPS, named)

    def keep(self, experiment: str, name: str, content: Any) -> None:
        """Write a JSON file into an experiment's folder, whole or not at all."""
        self.keep_text(experiment, name, json.dumps(content, indent=1, sort_keys=True))

    def keep_text(self, experiment: str, name: str, content: str) -> None:
        """The same of a text file."""
        self._backend.write(f"experiments/{experiment}/{name}", content.encode())

    def kept(self, experiment: str, name: str) -> Any:
        """What a JSON file of an experiment's folder holds; None where there is none.

        Raises:
            ValueError: it is not JSON.
        """
        content = self._backend.read(f"experiments/{experiment}/{name}")
        return None if content is None else json_lines.loaded(content)

    def kept_mapping(self, experiment: str, name: str) -> dict[str, Any]:
        """The same of a file that can be made anew: empty, too, where it cannot be read, which stderr then says."""
        try:
            kept = self.kept(experiment, name)
        except (ValueError, OSError):
            kept = ()
        if kept is not None and not isinstance(kept, dict):
            print(f"passed over: {self.root}/experiments/{experiment}/{name}: not a JSON object", file=sys.stderr)
        return kept if isinstance(kept, dict) else {}

    def named_by_all(self, name: str, texts: Callable[[Any], list[Any]], otherwise: str) -> set[str]:
        """What the JSON files of that name, one in every experiment's folder, name.

        Args:
            texts: finds it in the content of one.
            otherwise: what is wrong where it is not there, and what to do.

        Raises:
            UserError: it is not there, so nothing may count as unnamed.
        """
        named: set[str] = set()
        for file, content in self._backend.read_all(f"experiments/*/{name}").items():
            try:
                named |= _texts(texts(json_lines.loaded(content)))
            except (ValueError, TypeError, KeyError, AttributeError):
                raise UserError(f"{self.root}/{file}: {otherwise}, or remove the file if it is not needed") from None
        return named

    def kept_text(self, experiment: str, name: str) -> str | None:
        """What a text file of it holds, what is no text in it replaced; None where there is none."""
        content = self._backend.read(f"experiments/{experiment}/{name}")
        return None if content is None else content.decode(errors="replace")

    def referred(self) -> set[str]:
        """Fingerprints of the steps that any experiment refers to, what it has deployed included.

        Raises:
            UserError: what an experiment refers to cannot be read, so nothing may count as unreferred.
        """
        of_steps = self.named_by_all(_STEPS, _of_steps, "not a list of steps; run the experiment again")
        return of_steps | self.named_by_all(DEPLOYMENT, _of_deployments, "not a deployment; deploy again")

    @property
    def is_shared(self) -> bool:
        """Whether what one node writes into a draft is seen by all at once."""
        return isinstance(self._backend, FolderBackend)

    def near(self, node: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What a function makes of files that a node sees: called here where all see the same, else there."""
        return self._backend.near(node, function, *arguments, **named)

    def scratch(self, node: str, logs: Path) -> AbstractContextManager[Path]:
        """A folder that a node can write into, gone after the block."""
        return self._backend.scratch(node, logs)

    def check_usable(self) -> None:
        """Raise UserError where the store cannot be written to from this machine."""
        self._backend.check_usable()

    def entries(self) -> list[Entry]:
        """Whatever the store itself has named, of finished steps and of drafts.

        Raises:
            UserError: there are no records at all.
        """
        return self._backend.entries()

    def remove(self, entry: Entry, needed: Callable[[], bool]) -> bool:
        """Remove an entry, its record first; False, and nothing is lost, where it is `needed` after all."""
        return self._backend.remove(entry, needed)


def _of_steps(steps: Any) -> list[Any]:
    return [step["fingerprint"] for step in _list(steps)]


def _of_deployments(deployed: Any) -> list[Any]:
    both = filter(None, (deployed, deployed.get("previous")))
    return [text for one in both for text in (one["checkpoint"], *_list(one.get("records", [])))]


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _texts(values: list[Any]) -> set[str]:
    if not all(isinstance(value, str) for value in values):
        raise TypeError("not all are texts")
    return set(values)


def _name(step: Step[Result]) -> str:
    return f"records/{step.kind}/{step.fingerprint}"


def _recordable(kind: str, result: Result | None) -> dict[str, Any]:
    if result is None:
        raise RuntimeError(f"{kind} ended without a result")
    try:
        return written(kind, result)
    except Misfit as misfit:
        raise RuntimeError(f"the result of {kind} cannot be recorded: it {misfit}") from None


def _record(content: dict[str, Any], files: Files) -> Record[Any]:
    return Record(files=files, **{key: content[key] for key in _FIELDS})


def nearest(step: Step[Result], records: Iterable[Record[Result]]) -> Record[Result] | None:
    """The record of the same kind and variant that differs in the fewest fields, the latest of these: what a changed
    step is compared with."""
    same = [record for record in records if (record.kind, record.variant) == (step.kind, step.variant)]
    return min(same, key=lambda record: (len(difference(step, record)), -record.finished_at), default=None)


def difference(step: Step[Result], record: Record[Result]) -> list[str]:
    """The fields, as dotted names, in which a step differs from a finished one."""
    mine, theirs = _flat(step.identity), _flat(record.identity)
    return sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): value}
