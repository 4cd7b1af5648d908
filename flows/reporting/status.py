"""How far a run is, on the terminal."""

from collections.abc import Sequence
from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.analysis import compare
from flows.runtime import progress
from flows.runtime.context import Run
from flows.store.records import Record
from flows.store.results import Result


def show_status(run: Run, console: Console) -> None:
    """One line a variant: which steps have a record, and what was said of it last, also by a run that goes on
    in another shell."""
    table = Table(title=run.plan.experiment.name, box=box.SIMPLE_HEAD)
    for header in ("variant", "checkpoint", "accuracy", "load", "last event"):
        table.add_column(header)
    stopped = {stop.name: f"stopped: {stop.reason}" for stop in compare.stopped(run.evidence)}
    events = progress.latest(progress.events_folder(run.logs))
    for outcome in run.outcomes.values():
        loads = [outcome.benchmarks[index] for index in outcome.due]
        states = [_state(records) for records in ([outcome.checkpoint], outcome.evaluations, loads)]
        last = outcome.failure or stopped.get(outcome.name)
        if last is None and not outcome.complete and (event := events.get(outcome.name)):
            last = f"{datetime.fromtimestamp(event.at):%H:%M:%S} {event.what}"
        table.add_row(outcome.name, *states, Text(last or ""))
    console.print(table)


def _state(records: Sequence[Record[Result] | None]) -> str:
    done = sum(record is not None for record in records)
    return "done" if done == len(records) else f"{done} of {len(records)}" if done else "missing"
