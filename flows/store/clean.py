"""What lies in a store that no experiment refers to: listed, shown, removed.

Only what this project has named, in the folders that it has made, is ever looked at.
"""

import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from configs.base import UserError
from flows.store.backend import Entry
from flows.store.records import Store
from flows.store.writers import GIVEN_UP_AFTER_S

_HOUR_S = 3600


@dataclass(frozen=True)
class Leftover:
    """A folder that nobody needs, and why."""

    name: str
    """Under the store's root."""
    bytes: int
    linked_bytes: int
    """Of files that have a name elsewhere, too: their space is free once that is gone."""
    changed_at: float
    reason: str
    remove: Callable[[], bool]
    """False, and nothing is lost, where an experiment has come to need it meanwhile."""


def clean(root: Path | str, leftovers: Sequence[Leftover], console: Console, *, remove: bool) -> None:
    """Show what no experiment needs of a store and the total; with `remove`, remove it."""
    if not leftovers:
        console.print(f"nothing to remove in {root}", soft_wrap=True)
        return
    table = Table(title=str(root), box=box.SIMPLE_HEAD)
    for header in ("folder", "MB", "last change", "why"):
        table.add_column(header, justify="right" if header == "MB" else "left", overflow="fold")
    for leftover in leftovers:
        table.add_row(leftover.name, f"{leftover.bytes / 1e6:.1f}", _ago(leftover.changed_at), leftover.reason)
    console.print(table)
    if not remove:
        console.print(f"{_total(leftovers)} that no experiment needs; --remove removes them")
        return
    removed = []
    for leftover in leftovers:
        if _removed(root, leftover):
            removed.append(leftover)
            console.print(f"removed {leftover.name}", soft_wrap=True)
        else:
            console.print(f"kept {leftover.name}: an experiment needs it now", soft_wrap=True)
    console.print(f"{_total(removed)} removed")


def _removed(root: Path | str, leftover: Leftover) -> bool:
    try:
        return leftover.remove()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{root}/{leftover.name}: cannot be removed ({reason}); check its owner") from None


def unreferred(store: Store, planned: Set[str]) -> list[Leftover]:
    """Finished steps that neither an experiment nor `planned` refers to, and what dead writers left.

    The record of one that is removed goes first. A run refers to its steps before it looks for their records, so
    either it sees no record and makes a new one, or its reference is seen here and the record put back.

    Args:
        planned: fingerprints that count as referred to, whatever the store says.
    """
    entries = store.entries()  # first, so that what a run refers to by now counts
    referred = store.referred() | planned
    reasons = ((entry, _abandoned(entry) if entry.is_draft else _unneeded(entry, referred)) for entry in entries)
    return [_leftover(store, entry, reason, planned) for entry, reason in reasons if reason]


def _leftover(store: Store, entry: Entry, reason: str, planned: Set[str]) -> Leftover:
    def needed() -> bool:
        return entry.fingerprint in store.referred() | planned

    remove = partial(store.remove, entry, needed)
    return Leftover(entry.name, entry.bytes, entry.linked_bytes, entry.changed_at, reason, remove)


def _abandoned(draft: Entry) -> str | None:
    writer = draft.writer
    if writer and writer.on_this_host:
        return None if writer.alive else "its writer is dead"
    if time.time() - draft.changed_at < GIVEN_UP_AFTER_S:
        return None
    return f"not changed for a day by its writer on {writer.host if writer else 'an unknown host'}"


def _unneeded(entry: Entry, referred: Set[str]) -> str | None:
    if not entry.has_record:
        return "has no record"
    return None if entry.fingerprint in referred else "no experiment refers to it"


def _total(leftovers: Sequence[Leftover]) -> str:
    size = sum(leftover.bytes for leftover in leftovers)
    text = f"{len(leftovers)} folder{'' if len(leftovers) == 1 else 's'}, {size / 1e6:.1f} MB"
    linked = sum(leftover.linked_bytes for leftover in leftovers)
    return f"{text} ({linked / 1e6:.1f} of them in use until MLflow's models are deleted, too)" if linked else text


def _ago(moment: float) -> str:
    hours = (time.time() - moment) / _HOUR_S
    return f"{hours:.0f} h ago" if hours < 48 else f"{hours / 24:.0f} days ago"
