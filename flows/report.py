"""What a person reads: the terminal tables, decision.json and report.html, all from the records."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from rich import box
from rich.console import Console
from rich.table import Table

from configs.experiment import BASE
from configs.model import PathModel
from flows import checkpoints, memory, plots
from flows.context import Run
from flows.judgement import Difference, Judged, Judgement
from flows.plan import Plan
from flows.records import Store, difference


def write(run: Run, judgement: Judgement) -> None:
    """Write decision.json and report.html into the experiment's folder."""
    folder = run.plan.experiment.storage.root / "experiments" / run.plan.experiment.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "decision.json").write_text(judgement.to_json())
    (folder / "report.html").write_text(_html(run, judgement))


def show(run: Run, judgement: Judgement, console: Console) -> None:
    """The comparison on the terminal."""
    console.print()
    console.print(_comparison(run, judgement))
    for variant in judgement.judged:
        if variant.differences:
            console.print(_accuracy(variant))
    for name, reason in judgement.reasons.items():
        console.print(f"[bold]{name}[/bold]: {reason}", highlight=False)
    console.print(f"\n[bold]{judgement.sentence}[/bold]", highlight=False)


def _comparison(run: Run, judgement: Judgement) -> Table:
    table = Table(title=f"{run.plan.experiment.name}: {run.plan.experiment.model.label}", box=box.SIMPLE_HEAD)
    for header in (
        "variant",
        "size MB",
        "load",
        "tokens/s",
        "TTFT p50 / p95 ms",
        "ITL p50 / p95 ms",
        "requests",
        "verdict",
    ):
        table.add_column(header, justify="left" if header in ("variant", "load", "verdict") else "right")
    for variant in judgement.judged:
        for row, point in enumerate(_points(run, variant.name)):
            head = (variant.name, f"{variant.size_bytes / 1e6:.0f}") if row == 0 else ("", "")
            table.add_row(*head, *_cells(point), _verdict(variant, judgement) if row == 0 else "")
    return table


def _cells(point: dict[str, Any]) -> tuple[str, ...]:
    unit = "clients" if point["unit"] == "streams" else "requests/s"
    return (
        f"{point['asked']:g} {unit}",
        f"{point['output_tokens_per_second']:.1f}",
        f"{point['ttft_p50_ms']:.0f} / {point['ttft_p95_ms']:.0f}",
        f"{point['itl_p50_ms']:.1f} / {point['itl_p95_ms']:.1f}",
        f"{point['requests']}",
    )


def _verdict(variant: Judged, judgement: Judgement) -> str:
    words = "reference" if variant.name == BASE else (variant.verdict or "")
    return f"{words}, recommended" if variant.name == judgement.recommended else words


def _accuracy(variant: Judged) -> Table:
    table = Table(title=f"{variant.name} against base, on the same documents", box=box.SIMPLE_HEAD)
    for header in (
        "task\nmetric",
        "documents",
        "base\nvariant",
        "difference\n[interval]",
        "recovery\n[interval]",
        "flips +/-",
        "p (Holm)",
        "verdict",
    ):
        words = header in ("task\nmetric", "verdict")
        table.add_column(header, justify="left" if words else "right", no_wrap=True)
    for found in variant.differences:
        table.add_row(*_difference_cells(found))
    return table


def _difference_cells(found: Difference) -> tuple[str, ...]:
    return (
        f"{found.task}\n{found.metric}",
        f"{found.documents}",
        f"{found.base:.3f}\n{found.variant:.3f}",
        f"{found.difference:+.3f}\n[{found.low:+.3f}, {found.high:+.3f}]",
        _recovery(found),
        f"{found.gained}/{found.lost}",
        _p_value(found.p_holm),
        found.verdict or "shown only",
    )


def _recovery(found: Difference) -> str:
    if found.recovery is None or found.recovery_low is None or found.recovery_high is None:
        return ""
    return f"{100 * found.recovery:.1f} %\n[{100 * found.recovery_low:.1f}, {100 * found.recovery_high:.1f}]"


def _p_value(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def show_plan(plan: Plan, store: Store, console: Console) -> None:
    """What would run, what is already done, and which field makes a step run again."""
    table = Table(title=f"{plan.experiment.name} on {plan.hardware.name}", box=box.SIMPLE_HEAD)
    for header in ("variant", "step", "fingerprint", "state"):
        table.add_column(header)
    for variant in plan.variants:
        if variant.left_out:
            table.add_row(variant.name, "", "", f"left out: {variant.left_out}")
            continue
        for step in variant.steps:
            if store.find(step):
                state = "done"
            elif earlier := store.nearest(step):
                state = f"to do; changed since: {', '.join(difference(step, earlier)[:4])}"
            else:
                state = "to do"
            table.add_row(variant.name, step.kind, step.fingerprint, state)
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
    """One line a variant: which steps have a record."""
    table = Table(title=run.plan.experiment.name, box=box.SIMPLE_HEAD)
    for header in ("variant", "checkpoint", "accuracy", "load", "note"):
        table.add_column(header)
    for outcome in run.outcomes.values():
        states = ["done" if r else "missing" for r in (outcome.checkpoint, outcome.evaluation, outcome.benchmark)]
        table.add_row(outcome.name, *states, outcome.failure or "")
    console.print(table)


def _points(run: Run, name: str) -> list[dict[str, Any]]:
    benchmark = run.outcomes[name].benchmark
    return list(benchmark.result["points"]) if benchmark else []


def _html(run: Run, judgement: Judgement) -> str:
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    margin = run.plan.experiment.decision.constraints.max_accuracy_drop
    points = {variant.name: _points(run, variant.name) for variant in judgement.judged}
    return environment.get_template("report.html.jinja").render(
        run=run,
        judgement=judgement,
        rows=[(v, points[v.name], [_cells(p) for p in points[v.name]]) for v in judgement.judged],
        accuracy=[(v, [_difference_cells(d) for d in v.differences]) for v in judgement.judged if v.differences],
        verdict=lambda variant: _verdict(variant, judgement),
        accuracy_plot=plots.accuracy(judgement, margin),
        load_plot=plots.load(points),
        pareto_plot=plots.pareto(judgement),
        how=_how(run),
    )


def _how(run: Run) -> list[tuple[str, str]]:
    """How it was measured, as pairs of words."""
    plan, experiment = run.plan, run.plan.experiment
    load = experiment.load
    together = {tuple(o.benchmark.result["company"]) for o in run.outcomes.values() if o.benchmark}
    companies = [", ".join(names) for names in sorted(together) if names]
    shape = (
        f"{load.prompt_tokens} prompt and {load.output_tokens} output tokens, {load.duration_s:g} s a point "
        f"after {load.warmup_s:g} s of warm-up, seed {load.seed}"
    )
    return [
        ("hardware", f"{plan.hardware.name}, {plan.hardware.cores} cores, {plan.hardware.accelerator}"),
        ("compute dtype", plan.compute_dtype),
        ("load", shape),
        ("loaded", f"together: {'; '.join(companies)}" if companies else "one variant at a time"),
        ("prefix caching", "on" if experiment.serving.prefix_caching else "off"),
        ("accuracy engine", experiment.accuracy.engine),
        ("intervals", f"{100 * experiment.decision.confidence:g} %, of differences on the same documents"),
        ("libraries", ", ".join(f"{k} {v}" for k, v in _libraries(run).items())),
        ("reproduce", f"the records in {experiment.storage.root / 'records'}, by the fingerprints below"),
    ]


def _libraries(run: Run) -> dict[str, str]:
    found: dict[str, str] = {}
    for outcome in run.outcomes.values():
        for step in outcome.plan.steps:
            found |= step.libraries
    return dict(sorted(found.items()))
