"""What lies in a store that no experiment refers to: listed, shown, removed.

Only what the store itself has named, inside its records, is ever looked at.
"""

import time
from collections.abc import Set
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from configs.base import UserError
from flows.store.backend import Entry
from flows.store.records import Store
from flows.store.writers import GIVEN_UP_AFTER_S

_HOUR_S = 3600


@dataclass(frozen=True)
class Unreferred:
    """An entry that nobody needs, and why."""

    entry: Entry
    reason: str


def clean(store: Store, planned: Set[str], console: Console, *, remove: bool) -> None:
    """Show what no experiment refers to and the total; with `remove`, remove it.

    Args:
        planned: fingerprints that count as referred to, whatever the store says.
    """
    leftovers = unreferred(store, planned)
    if not leftovers:
        console.print(f"nothing to remove in {store.root}", soft_wrap=True)
        return
    table = Table(title=str(store.root), box=box.SIMPLE_HEAD)
    for header in ("folder", "MB", "last change", "why"):
        table.add_column(header, justify="right" if header == "MB" else "left", overflow="fold")
    for leftover in leftovers:
        entry = leftover.entry
        table.add_row(entry.name, f"{entry.bytes / 1e6:.1f}", _ago(entry.changed_at), leftover.reason)
    console.print(table)
    if not remove:
        console.print(f"{_total(leftovers)} that no experiment needs; --remove removes them")
        return
    removed = []
    for leftover in leftovers:
        if remove_one(store, leftover, planned):
            removed.append(leftover)
            console.print(f"removed {leftover.entry.name}", soft_wrap=True)
        else:
            console.print(f"kept {leftover.entry.name}: an experiment refers to it now", soft_wrap=True)
    console.print(f"{_total(removed)} removed")


def unreferred(store: Store, planned: Set[str]) -> list[Unreferred]:
    """Finished steps that neither an experiment nor `planned` refers to, and what dead writers left."""
    entries = store.entries()  # first, so that what a run refers to by now counts
    referred = store.referred() | planned
    reasons = ((entry, _abandoned(entry) if entry.is_draft else _unneeded(entry, referred)) for entry in entries)
    return [Unreferred(entry, reason) for entry, reason in reasons if reason]


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


def remove_one(store: Store, leftover: Unreferred, planned: Set[str]) -> bool:
    """Remove an entry; False, and nothing is lost, where an experiment has come to refer to it meanwhile.

    The record goes first. A run refers to its steps before it looks for their records, so either it sees no record
    and makes a new one, or its reference is seen here and the record put back.
    """
    try:
        return store.remove(leftover.entry, lambda: leftover.entry.fingerprint in store.referred() | planned)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{store.root}/{leftover.entry.name}: cannot be removed ({reason}); check its owner") from None


def _total(leftovers: list[Unreferred]) -> str:
    size = sum(leftover.entry.bytes for leftover in leftovers)
    text = f"{len(leftovers)} folder{'' if len(leftovers) == 1 else 's'}, {size / 1e6:.1f} MB"
    linked = sum(leftover.entry.linked_bytes for leftover in leftovers)
    return f"{text} ({linked / 1e6:.1f} of them in use until MLflow's models are deleted, too)" if linked else text


def _ago(moment: float) -> str:
    hours = (time.time() - moment) / _HOUR_S
    return f"{hours:.0f} h ago" if hours < 48 else f"{hours / 24:.0f} days ago"
