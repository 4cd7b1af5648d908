"""What a plan would do and how far a run is, on the terminal."""

from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from configs.model import PathModel
from flows import checkpoints, compare, memory, progress
from flows.context import Run
from flows.plan import Plan
from flows.records import Record, Store, difference


def show_plan(plan: Plan, store: Store, console: Console) -> None:
    """What would run, what is already done, and which field makes a step run again."""
    table = Table(title=f"{plan.experiment.name} on {plan.hardware.name}", box=box.SIMPLE_HEAD)
    for header in ("variant", "step", "fingerprint", "state"):
        table.add_column(header)
    for variant in plan.variants:
        if variant.left_out:
            table.add_row(variant.name, "", "", f"left out: {variant.left_out}")
            continue
        names = {
            step.fingerprint: f"{step.kind} {workload}".rstrip()
            for step, (workload, _) in zip(variant.benchmarks, plan.experiment.benchmarks, strict=True)
        }
        for step in variant.steps:
            if store.find(step):
                state = "done"
            elif earlier := store.nearest(step):
                state = f"to do; changed since: {', '.join(difference(step, earlier)[:4])}"
            else:
                state = "to do"
            table.add_row(variant.name, names.get(step.fingerprint, step.kind), step.fingerprint, state)
    console.print(table)
    if isinstance(plan.experiment.model, PathModel) and not plan.hardware.on_cpu:
        tensors = checkpoints.tensors(plan.experiment.model.path)
        for variant in plan.variants:
            if variant.scheme:
                wanted = memory.quantizing_gpu_bytes(tensors, variant.scheme) / memory.GIB
                console.print(f"quantizing {variant.name} needs about {wanted:.1f} GiB of GPU memory")
    seats = plan.seats
    console.print(
        f"{len(seats.engines)} engines side by side, {len(seats.engines[0]) or 'GPU'} cores each, computing in "
        f"{plan.compute_dtype}; loaded {'together' if seats.together else 'one after the other'}; store "
        f"{store.root}",
        soft_wrap=True,
    )


def show_status(run: Run, console: Console) -> None:
    """One line a variant: which steps have a record, and what was said of it last, also by a run that goes on
    in another shell."""
    table = Table(title=run.plan.experiment.name, box=box.SIMPLE_HEAD)
    for header in ("variant", "checkpoint", "accuracy", "load", "last word"):
        table.add_column(header)
    stopped = {found.name: f"stopped: {found.reason}" for found in compare.stopped(run)}
    said = progress.latest(progress.events_folder(run.logs))
    for outcome in run.outcomes.values():
        states = [_state(records) for records in ([outcome.checkpoint], outcome.evaluations, outcome.benchmarks)]
        last = outcome.failure or stopped.get(outcome.name)
        if last is None and not outcome.complete and outcome.name in said:
            at, what = said[outcome.name]
            last = f"{datetime.fromtimestamp(at):%H:%M:%S} {what}"
        table.add_row(outcome.name, *states, Text(last or ""))
    console.print(table)


def _state(records: list[Record | None]) -> str:
    done = sum(record is not None for record in records)
    return "done" if done == len(records) else f"{done} of {len(records)}" if done else "missing"
