"""A store in an object store, which has no folders and no rename.

The files of a step are put under a name of their own, RECORDS/STEP/ID/, by the node that made them. The step's record
is put last, in one piece and only where there is none, and says which ID it is about: a step without a record has
nothing that anybody would find. A node works in a local folder, and pulls what it needs into its cache.
"""

import contextlib
import os
import re
import shutil
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from actors.files import object_store
from actors.files.checkpoint_cache import Cache, Pullable
from actors.files.checkpoint_holder import held_on
from actors.files.object_store import Stored
from actors.placement.lease import on_node
from configs import json_lines
from configs.base import UserError
from configs.storage import GIB, Storage
from flows.store.backend import FINISHED, RECORD, Broken, Entry, Files, Work, as_text, no_records, parsed
from flows.store.writers import GIVEN_UP_AFTER_S, WRITER, Writer

_ID = re.compile(r"[0-9a-f]{8}")
_OBJECTS = "objects"
"""In a stored record: the ID (`at`) and the digests of its `files`."""


class _Digest(BaseModel):
    bytes: int = Field(ge=0)
    sha256: str


class _Objects(BaseModel):
    at: str = Field(pattern=rf"^{_ID.pattern}$")
    files: dict[str, _Digest]


@dataclass(frozen=True)
class ObjectFiles:
    """Files that a record tells of, by the cache that they are pulled into."""

    name: str
    pullable: Pullable
    cache: Cache

    def held(self) -> AbstractContextManager[Path]:
        return self.cache.held(self.pullable)

    def held_on(self, node: str) -> AbstractContextManager[Path]:
        return held_on(node, self.cache, self.pullable)

    def kept(self) -> tuple[Path, tuple[int, ...]]:
        held = self.cache.hold(self.pullable)
        return held.folder, (held.descriptor,)


class ObjectWork:
    """A local folder, and the objects that were put from it and from others like it on other nodes."""

    def __init__(self, backend: "ObjectBackend", step: str) -> None:
        self._id = uuid.uuid4().hex[:8]
        self._step, self._address = f"{backend.root}/{step}", f"{backend.root}/{step}/{self._id}"
        self._files: dict[str, dict[str, Any]] = {}
        self._is_recorded = False
        self.folder = backend.drafts / f"{step.replace('/', '.')}.{self._id}"
        _open(self.folder, Writer.this())
        object_store.write(f"{self._address}/{WRITER}", (self.folder / WRITER).read_bytes())

    @contextlib.contextmanager
    def on(self, node: str) -> Iterator[Path]:
        on_node(node, _open, self.folder, Writer.this())
        try:
            yield self.folder
            self._files |= on_node(node, object_store.put_folder, self.folder, self._address, (WRITER,))
        finally:
            on_node(node, shutil.rmtree, self.folder, True)

    def finish(self, record: dict[str, Any]) -> None:
        if self.folder.is_dir():
            self._files |= object_store.put_folder(self.folder, self._address, (WRITER,))
        stored = {**record, _OBJECTS: {"at": self._id, "files": self._files}}
        if object_store.write_new(f"{self._step}/{RECORD}", as_text(stored)):
            self._is_recorded = True
            object_store.remove(self._address, [WRITER])

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if not self._is_recorded:
            object_store.remove(self._address, object_store.listed(self._address))


class ObjectBackend:
    """`root` is an address."""

    def __init__(self, storage: Storage) -> None:
        self.root: Path | str = str(storage.root)
        self.drafts = storage.cache / "drafts"
        self._local = storage.local
        self._cache = Cache(storage.cache / "pulled", int(storage.cache_gib * GIB))
        self._contents: dict[str, bytes] = {}
        """Of the records that were read. None is removed that a run refers to, so each is read once."""

    def read(self, name: str) -> bytes | None:
        return object_store.read(f"{self.root}/{name}")

    def read_all(self, pattern: str) -> dict[str, bytes]:
        return object_store.read_all(str(self.root), pattern)

    def write(self, name: str, content: bytes) -> None:
        """Into the store, and beside the logs on this machine, where people and MLflow look."""
        object_store.write(f"{self.root}/{name}", content)
        (self._local / name).parent.mkdir(parents=True, exist_ok=True)
        (self._local / name).write_bytes(content)

    def find(self, step: str) -> tuple[dict[str, Any], Files] | None:
        content = self._contents.get(step) or self.read(f"{step}/{RECORD}")
        if content is None:
            return None
        record, files = self._parsed(step, content)
        self._contents[step] = content
        return record, files

    def all(self, passed_over: Callable[[str, Broken], None]) -> list[tuple[dict[str, Any], Files]]:
        records = []
        for name, content in self.read_all(f"records/*/*/{RECORD}").items():
            step = name.removesuffix(f"/{RECORD}")
            try:
                records.append(self._parsed(step, content))
            except Broken as broken:
                passed_over(step, broken)
        return records

    def set_aside(self, step: str) -> None:
        self._contents.pop(step, None)
        object_store.remove(f"{self.root}/{step}", [RECORD])

    def _parsed(self, step: str, content: bytes) -> tuple[dict[str, Any], Files]:
        record = parsed(content, step)
        objects = record.pop(_OBJECTS, None)
        try:
            stored = _Objects.model_validate(objects)
        except ValidationError:
            raise Broken("does not say where its files are") from None
        name = f"{step}/{stored.at}"
        # Two stores may have the same step, never under the same ID.
        pullable = Pullable(name.replace("/", "."), f"{self.root}/{name}", stored.model_dump()["files"])
        return record, ObjectFiles(name, pullable, self._cache)

    def begin(self, step: str) -> Work:
        return ObjectWork(self, step)

    def near(self, node: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return on_node(node, _call, function, arguments, named)

    @contextlib.contextmanager
    def scratch(self, node: str, logs: Path) -> Iterator[Path]:
        folder = on_node(node, tempfile.mkdtemp)
        try:
            yield Path(folder)
        finally:
            on_node(node, shutil.rmtree, folder, True)

    def check_usable(self) -> None:
        if reason := object_store.unusable(str(self.root), f".usable.{uuid.uuid4().hex[:8]}"):
            raise UserError(
                f"storage.root: {self.root} cannot be written to from here ({reason}); check the address, and the "
                "credentials that its backend reads from this machine's environment"
            )

    def entries(self) -> list[Entry]:
        steps: dict[str, dict[str, Stored]] = defaultdict(dict)
        for name, stored in object_store.listed(f"{self.root}/records").items():
            kind, fingerprint, *inside = name.split("/", 2)
            if inside and FINISHED.fullmatch(fingerprint):
                steps[f"records/{kind}/{fingerprint}"][inside[0]] = stored
        if not steps:
            raise UserError(no_records(self.root))
        return [entry for step, files in sorted(steps.items()) for entry in self._entries(step, files)]

    def _entries(self, step: str, files: dict[str, Stored]) -> Iterator[Entry]:
        """A finished step, and its drafts."""
        fingerprint = step.rpartition("/")[2]
        parts: dict[str, list[Stored]] = defaultdict(list)
        for name, stored in files.items():
            parts[name.partition("/")[0]].append(stored)
        record = self.read(f"{step}/{RECORD}") if RECORD in parts else None
        at = _at(record)
        if record is not None:
            yield _entry(step, fingerprint, [*parts[RECORD], *parts.get(str(at), [])], has_record=True)
        for name, objects in parts.items():
            if _ID.fullmatch(name) and name != at:
                signature = self.read(f"{step}/{name}/{WRITER}")
                yield _entry(f"{step}/{name}", fingerprint, objects, writer=Writer.parsed(signature))

    def remove(self, entry: Entry, needed: Callable[[], bool]) -> bool:
        step, _, draft = entry.name.rpartition("/") if entry.is_draft else (entry.name, "", "")
        record = self.read(f"{step}/{RECORD}")
        at = _at(record)
        if entry.is_draft and draft == at:
            return False  # it was finished just now
        if record is not None and not entry.is_draft:
            object_store.remove(f"{self.root}/{step}", [RECORD])
            if needed():
                object_store.write_new(f"{self.root}/{step}/{RECORD}", record)
                return False
        address = f"{self.root}/{step}/{draft or at}"
        object_store.remove(address, object_store.listed(address))
        return True


def _at(record: bytes | None) -> str | None:
    """Under which ID a record's files are; None where it cannot be read."""
    try:
        return str(json_lines.loaded(record)[_OBJECTS]["at"]) if record else None
    except (ValueError, TypeError, KeyError):
        return None


def _entry(
    name: str, fingerprint: str, stored: list[Stored], *, has_record: bool = False, writer: Writer | None = None
) -> Entry:
    size, changed_at = sum(one.bytes for one in stored), max(one.changed_at for one in stored)
    return Entry(name, fingerprint, not has_record, has_record, size, changed_at, writer)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return function(*arguments, **named)


def _open(folder: Path, writer: Writer) -> None:
    """A folder to work in on this node. What dead writers have left beside it goes."""
    for other in folder.parent.glob("*"):
        signed = Writer.of(other)
        here = signed is not None and signed.on_this_host
        if not signed.alive if signed and here else _silent(other):
            shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    writer.sign(folder)


def _silent(folder: Path) -> bool:
    """Whether nothing in a folder has changed for so long that its writer, on another host, is given up."""
    latest = 0.0
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            latest = max(latest, os.lstat(path).st_mtime)
    return 0 < latest < time.time() - GIVEN_UP_AFTER_S
