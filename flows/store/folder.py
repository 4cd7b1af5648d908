"""A store in a folder that every node reaches.

A step is worked on in a temporary sibling, signed by its writer; the folder is renamed into place once all of it is
on the disk.
"""

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.base import UserError
from flows.store.backend import FINISHED, RECORD, Broken, Entry, Files, Work, as_text, no_records, parsed
from flows.store.writers import WRITER, Writer

_DRAFT = re.compile(r"\.([0-9a-f]{16})\.[0-9a-f]{8}\.partial")


@dataclass(frozen=True)
class FolderFiles:
    """The folder itself."""

    folder: Path
    root: Path = Path()

    @property
    def name(self) -> str:
        return str(self.folder.relative_to(self.root))

    def held(self) -> AbstractContextManager[Path]:
        return contextlib.nullcontext(self.folder)

    def held_on(self, node: str) -> AbstractContextManager[Path]:
        return self.held()

    def kept(self) -> tuple[Path, tuple[int, ...]]:
        return self.folder, ()


class FolderWork:
    """A temporary sibling of a step's folder."""

    def __init__(self, final: Path) -> None:
        self._final, self.folder = final, draft_name(final)
        self.folder.mkdir(parents=True)
        Writer.this().sign(self.folder)

    def on(self, node: str) -> AbstractContextManager[Path]:
        return contextlib.nullcontext(self.folder)

    def finish(self, record: dict[str, Any]) -> None:
        (self.folder / WRITER).unlink()
        _write(self.folder / RECORD, as_text(record))
        for path in (*self.folder.rglob("*"), self.folder):
            _flush(path)
        _put_in_place(self.folder, self._final)

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class FolderBackend:
    """`root` is at the same path on every node."""

    root: Path

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_all(self, pattern: str) -> dict[str, bytes]:
        contents = {str(file.relative_to(self.root)): self.read(str(file)) for file in sorted(self.root.glob(pattern))}
        return {name: content for name, content in contents.items() if content is not None}

    def write(self, name: str, content: bytes) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        written = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
        try:
            _write(written, content)
            _flush(written)
            written.rename(file)
        finally:
            written.unlink(missing_ok=True)
        _flush(file.parent)

    def find(self, step: str) -> tuple[dict[str, Any], Files] | None:
        try:
            content = self.read(f"{step}/{RECORD}")
        except OSError as error:
            raise Broken(f"cannot be read ({error.strerror})") from None
        return None if content is None else (parsed(content, step), FolderFiles(self.root / step, self.root))

    def all(self, passed_over: Callable[[str, Broken], None]) -> list[tuple[dict[str, Any], Files]]:
        records = []
        for file in sorted(self.root.glob(f"records/*/[!.]*/{RECORD}")):
            step = str(file.parent.relative_to(self.root))
            try:
                records.append(self.find(step))
            except Broken as broken:
                passed_over(step, broken)
        return [record for record in records if record]

    def set_aside(self, step: str) -> None:
        (self.root / step).rename(draft_name(self.root / step))

    def begin(self, step: str) -> Work:
        return FolderWork(self.root / step)

    def near(self, node: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    @contextlib.contextmanager
    def scratch(self, node: str, logs: Path) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=logs) as folder:
            yield Path(folder)

    def check_usable(self) -> None:
        """Whoever writes results there finds out."""

    def entries(self) -> list[Entry]:
        records = self.root / "records"
        if not records.is_dir():
            raise UserError(no_records(self.root))
        kinds = [kind for kind in sorted(records.iterdir()) if _is_folder(kind)]
        entries = (self._entry(folder) for kind in kinds for folder in sorted(kind.iterdir()) if _is_folder(folder))
        return [entry for entry in entries if entry]

    def _entry(self, folder: Path) -> Entry | None:
        """None of a folder that the store has not named, or that was finished or removed just now."""
        draft, finished = _DRAFT.fullmatch(folder.name), FINISHED.fullmatch(folder.name)
        if not (draft or finished):
            return None
        size, linked, changed_at = extent(folder)
        entry = Entry(
            name=str(folder.relative_to(self.root)),
            fingerprint=draft[1] if draft else folder.name,
            is_draft=draft is not None,
            has_record=(folder / RECORD).is_file(),
            bytes=size,
            changed_at=changed_at,
            writer=Writer.of(folder) if draft else None,
            linked_bytes=linked,
        )
        return entry if folder.is_dir() else None

    def remove(self, entry: Entry, needed: Callable[[], bool]) -> bool:
        """A finished step is taken aside first: what is half removed never bears a record's name."""
        final = doomed = self.root / entry.name
        if not entry.is_draft:
            doomed = final.rename(draft_name(final))
            if (doomed / RECORD).is_file() and needed():
                _put_in_place(doomed, final)
                shutil.rmtree(doomed, ignore_errors=True)  # there still where a run has made it anew
                return False
        shutil.rmtree(doomed)
        return True


def draft_name(final: Path) -> Path:
    """A new name beside a finished step's folder that nobody takes for a record."""
    return final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.partial")


def _put_in_place(draft: Path, final: Path) -> None:
    """Give a whole folder the name of a finished step, for good; where there is a record, that one stays."""
    try:
        draft.rename(final)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not (final / RECORD).is_file():
            raise
    _flush(final.parent)


def extent(folder: Path) -> tuple[int, int, float]:
    """Bytes of all its files, those of them that have another name, and when anything in it changed last. What vanishes
    meanwhile is passed over."""
    size, linked, changed_at = 0, 0, 0.0
    for parent, _, names in os.walk(folder):
        for path in (Path(parent), *(Path(parent, name) for name in names)):
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                changed_at = max(changed_at, status.st_mtime)
                if not stat.S_ISDIR(status.st_mode):
                    size += status.st_size
                    linked += status.st_size if status.st_nlink > 1 else 0
    return size, linked, changed_at


def check_writable(root: Path) -> None:
    """Raise UserError where nothing can be written into the folder of a store; it is made where there is none."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"storage.root: {root} is not writable ({error.strerror}); choose another folder") from None


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _flush(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
