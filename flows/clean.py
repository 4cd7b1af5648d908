"""What lies in a store that no experiment refers to: found, shown, removed.

Only folders that the store itself has named, inside its `records`, are ever looked at.
"""

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from configs.base import UserError
from flows.records import RECORD, Store, draft_name, is_draft, put_in_place
from flows.writers import Writer

_HOUR_S = 3600
_SILENT_S = 24 * _HOUR_S
"""A draft whose writer cannot be asked from here is given up after so long without a change."""


@dataclass(frozen=True)
class Unreferred:
    """A folder that nobody needs, and why."""

    folder: Path
    reason: str
    bytes: int
    changed_at: float


def clean(store: Store, planned: Set[str], console: Console, *, remove: bool) -> None:
    """Show what no experiment refers to and the total; with `remove`, remove it.

    Args:
        planned: fingerprints that count as referred to, whatever the store says.
    """
    found = unreferred(store, planned)
    if not found:
        console.print(f"nothing to remove in {store.root}", soft_wrap=True)
        return
    table = Table(title=str(store.root), box=box.SIMPLE_HEAD)
    for header in ("folder", "MB", "last change", "why"):
        table.add_column(header, justify="right" if header == "MB" else "left", overflow="fold")
    for one in found:
        table.add_row(_name(store, one), f"{one.bytes / 1e6:.1f}", _ago(one.changed_at), one.reason)
    console.print(table)
    if not remove:
        console.print(f"{_total(found)} that no experiment needs; --remove removes them")
        return
    removed = []
    for one in found:
        if remove_one(store, one, planned):
            removed.append(one)
            console.print(f"removed {_name(store, one)}", soft_wrap=True)
        else:
            console.print(f"kept {_name(store, one)}: an experiment refers to it now", soft_wrap=True)
    console.print(f"{_total(removed)} removed")


def unreferred(store: Store, planned: Set[str]) -> list[Unreferred]:
    """Finished steps that neither an experiment nor `planned` refers to, and what dead writers left."""
    if not store.records.is_dir():
        raise UserError(f"--store: {store.root} holds no records; give the storage.root of your experiments")
    referred = store.referred() | planned
    found = []
    for folder in store.folders():
        size, changed_at = _extent(folder)
        reason = _abandoned(folder, changed_at) if is_draft(folder) else _unneeded(folder, referred)
        if reason and folder.is_dir():  # else it was finished or removed just now
            found.append(Unreferred(folder, reason, size, changed_at))
    return found


def _extent(folder: Path) -> tuple[int, float]:
    """Bytes of all its files, and when anything in it changed last. What vanishes meanwhile is passed over."""
    size, changed_at = 0, 0.0
    for parent, _, names in os.walk(folder):
        for path in (Path(parent), *(Path(parent, name) for name in names)):
            with contextlib.suppress(FileNotFoundError):
                told = path.lstat()
                size += 0 if stat.S_ISDIR(told.st_mode) else told.st_size
                changed_at = max(changed_at, told.st_mtime)
    return size, changed_at


def _abandoned(draft: Path, changed_at: float) -> str | None:
    writer = Writer.of(draft)
    if writer and writer.on_this_host:
        return None if writer.alive else "its writer is dead"
    if time.time() - changed_at < _SILENT_S:
        return None
    return f"not changed for a day by its writer on {writer.host if writer else 'an unknown host'}"


def _unneeded(folder: Path, referred: Set[str]) -> str | None:
    if not (folder / RECORD).is_file():
        return "has no record"
    return None if folder.name in referred else "no experiment refers to it"


def remove_one(store: Store, found: Unreferred, planned: Set[str]) -> bool:
    """Remove a folder; False, and nothing is lost, where an experiment has come to refer to it meanwhile.

    A finished step is taken aside first: what is half removed never bears a record's name. A run refers
    to its steps before it looks for their records, so either it sees no record and makes a new one, or
    its reference is seen here and the record put back.
    """
    doomed = found.folder
    try:
        if not is_draft(doomed):
            doomed = doomed.rename(draft_name(doomed))
            if (doomed / RECORD).is_file() and found.folder.name in store.referred() | planned:
                put_in_place(doomed, found.folder)
                shutil.rmtree(doomed, ignore_errors=True)  # there still where a run has made it anew
                return False
        shutil.rmtree(doomed)
    except OSError as error:
        raise UserError(f"{doomed}: cannot be removed ({error.strerror}); see whose it is") from None
    return True


def _total(found: list[Unreferred]) -> str:
    return f"{len(found)} folder{'' if len(found) == 1 else 's'}, {sum(one.bytes for one in found) / 1e6:.1f} MB"


def _name(store: Store, found: Unreferred) -> str:
    return str(found.folder.relative_to(store.root))


def _ago(moment: float) -> str:
    hours = (time.time() - moment) / _HOUR_S
    return f"{hours:.0f} h ago" if hours < 48 else f"{hours / 24:.0f} days ago"
