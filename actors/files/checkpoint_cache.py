"""What a node has pulled from an object store: whole, pulled once, and no more of it than its limit.

An entry is pulled into a sibling, compared with the sha256 of its record, and renamed to its own name. Whoever uses it
holds a shared lock on the entry's lock file, whoever pulls or removes it an exclusive one: the kernel takes the lock
from a process that dies. What was used longest ago goes first. A lock file is empty and is never removed, as somebody
may wait for it.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.files import object_store
from actors.files.digests import Damaged, Digests, verify_files

_PARTIAL = ".partial"


@dataclass(frozen=True)
class Pullable:
    """Files under an address, and the name that they have in a cache."""

    name: str
    address: str
    files: Digests

    @property
    def bytes(self) -> int:
        return sum(int(digest["bytes"]) for digest in self.files.values())


@dataclass
class Held:
    """An entry in use: it stays until `release`, or until every process that has the descriptor is gone."""

    folder: Path
    descriptor: int
    cache: "Cache"

    def release(self) -> None:
        os.utime(self.descriptor)
        os.close(self.descriptor)
        if self.cache.is_full:
            self.cache.make_room()


@dataclass(frozen=True)
class Cache:
    """A folder of entries on this node."""

    folder: Path
    limit_bytes: int

    def hold(self, wanted: Pullable) -> Held:
        """The files on this node, pulled where they are missing or damaged. Where another process pulls them, its
        end is waited for.

        Raises:
            Damaged: what the object store holds is not what was put there; or what is here is damaged, and in use.
        """
        lock = self._opened(wanted.name)
        entry, fresh = self.folder / wanted.name, False
        try:
            while True:
                fcntl.flock(lock, fcntl.LOCK_SH)
                there = entry.is_dir()
                if there and (fresh or _is_whole(entry, wanted.files)):
                    os.utime(lock)
                    return Held(entry, lock, self)
                self._alone(lock, entry, at_once=there)
                if there or not entry.is_dir():
                    self._pull(wanted, entry)
                    fresh = True
        except BaseException:
            os.close(lock)
            raise

    @contextlib.contextmanager
    def held(self, wanted: Pullable) -> Iterator[Path]:
        """The same for the length of a block."""
        held = self.hold(wanted)
        try:
            yield held.folder
        finally:
            held.release()

    def make_room(self, wanted_bytes: int = 0) -> None:
        """Remove what nobody uses, what was used longest ago first, until so much more fits under the limit."""
        with _locked(self.folder / "cache.lock"):
            locks = sorted(self._locks.iterdir(), key=lambda lock: lock.stat().st_mtime)
            sizes = {lock: sum(_bytes(path) for path in self._paths(lock.name)) for lock in locks}
            total = sum(sizes.values())
            for lock, size in sizes.items():
                if total + wanted_bytes <= self.limit_bytes:
                    break
                with contextlib.suppress(BlockingIOError), _locked(lock, fcntl.LOCK_NB):
                    _remove(*self._paths(lock.name))
                    total -= size
            if total + wanted_bytes > self.limit_bytes:
                self._full.touch()
            else:
                self._full.unlink(missing_ok=True)

    @property
    def is_full(self) -> bool:
        """Whether more is here than the limit, as `make_room` removes nothing that is in use."""
        return self._full.exists()

    @property
    def _full(self) -> Path:
        return self.folder / "full"

    def _opened(self, name: str) -> int:
        self._locks.mkdir(parents=True, exist_ok=True)
        return os.open(self._locks / name, os.O_RDWR | os.O_CREAT, 0o666)

    @property
    def _locks(self) -> Path:
        return self.folder / "locks"

    def _paths(self, name: str) -> tuple[Path, Path]:
        """An entry, and the sibling that it is pulled into."""
        return self.folder / name, self.folder / f"{name}{_PARTIAL}"

    def _alone(self, lock: int, entry: Path, *, at_once: bool) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if at_once else 0))
        except BlockingIOError:
            raise Damaged(f"{entry}: damaged on this node's disk, and in use; end the processes that use it") from None

    def _pull(self, wanted: Pullable, entry: Path) -> None:
        partial = entry.with_name(f"{entry.name}{_PARTIAL}")
        _remove(entry, partial)
        self.make_room(wanted.bytes)
        partial.mkdir()
        object_store.fetch_folder(wanted.address, wanted.files, partial)
        partial.rename(entry)


def _is_whole(entry: Path, files: Digests) -> bool:
    try:
        verify_files(entry, files)
    except Damaged:
        return False
    return True


def _remove(entry: Path, partial: Path) -> None:
    """Neither is there after it; what is half removed does not bear an entry's name."""
    shutil.rmtree(partial, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        entry.rename(partial)
    shutil.rmtree(partial, ignore_errors=True)


def _bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # it may be renamed meanwhile
                total += os.stat(os.path.join(parent, name)).st_size
    return total


@contextlib.contextmanager
def _locked(file: Path, how: int = 0) -> Iterator[None]:
    """The exclusive lock of a file for the length of a block.

    Raises:
        BlockingIOError: `how` is LOCK_NB, and somebody else has it.
    """
    with file.open("a") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX | how)
        yield
