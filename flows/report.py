"""What a person reads: the terminal's comparison, decision.json, report.html and report.md, all from the
records."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table

from flows import plots, tables
from flows.context import Run
from flows.judgement import Judgement


def write(run: Run, judgement: Judgement) -> None:
    """Write decision.json, report.html and report.md into the experiment's folder."""
    folder = run.plan.experiment.storage.root / "experiments" / run.plan.experiment.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "decision.json").write_text(judgement.to_json())
    for name in ("report.html", "report.md"):
        (folder / name).write_text(_rendered(name, run, judgement))


def show(run: Run, judgement: Judgement, console: Console) -> None:
    """The comparison on the terminal."""
    console.print()
    for found in tables.all_of(judgement, run.plan.experiment.decision):
        console.print(_terminal(found))
    for name, reason in judgement.reasons.items():
        console.print(f"[bold]{name}[/bold]: {reason}", highlight=False)
    console.print(f"\n[bold]{judgement.sentence}[/bold]", highlight=False)


def _terminal(found: tables.Table) -> Table:
    table = Table(title=found.title, box=box.SIMPLE_HEAD)
    for header in found.headers:
        justify: JustifyMethod = "left" if header in found.words else "right"
        table.add_column(header, justify=justify, no_wrap=header not in found.wrapped)
    for row in found.rows:
        table.add_row(*row)
    return table


def _rendered(name: str, run: Run, judgement: Judgement) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=name.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    decision = run.plan.experiment.decision
    return environment.get_template(f"{name}.jinja").render(
        run=run,
        judgement=judgement,
        tables=tables.all_of(judgement, decision),
        accuracy_plot=plots.accuracy(judgement, decision.constraints.max_accuracy_drop),
        load_plot=plots.load(judgement, decision.constraints),
        pareto_plot=plots.pareto(judgement),
        how=_how(run),
    )


def _how(run: Run) -> list[tuple[str, str]]:
    """How it was measured, as pairs of words."""
    plan, experiment = run.plan, run.plan.experiment
    load = experiment.load
    records = [record for outcome in run.outcomes.values() for record in outcome.benchmarks if record]
    together = {tuple(record.result["company"]) for record in records}
    companies = [", ".join(names) for names in sorted(together) if names]
    shape = (
        f"{load.prompt_tokens} prompt and {load.output_tokens} output tokens, {load.duration_s:g} s a point "
        f"after {load.warmup_s:g} s of warm-up, {load.repeats} repeats, seed {load.seed} and the next ones"
    )
    return [
        ("hardware", f"{plan.hardware.name}, {plan.hardware.cores} cores, {plan.hardware.accelerator}"),
        ("compute dtype", plan.compute_dtype),
        ("load", shape),
        ("loaded", f"together: {'; '.join(companies)}" if companies else "one variant at a time"),
        ("interference", _interference(run)),
        ("kernels", _kernels(run)),
        ("KV cache", _kv_caches(run)),
        ("prefix caching", "on" if experiment.serving.prefix_caching else "off"),
        ("accuracy engine", experiment.accuracy.engine),
        (
            "intervals",
            f"{100 * experiment.decision.confidence:g} %; accuracy: of differences on the same documents; load: over "
            "repeats (Student's t)",
        ),
        ("latencies", "from when a request was due" if load.kind != "concurrent" else "from when a request was sent"),
        ("libraries", ", ".join(f"{k} {v}" for k, v in _libraries(run).items())),
        ("reproduce", f"the records in {experiment.storage.root / 'records'}, by the fingerprints below"),
    ]


def _deployments(run: Run) -> dict[str, dict[str, Any]]:
    """What every variant's engine said of itself, at its first repeat."""
    first = {name: outcome.benchmarks[0] for name, outcome in run.outcomes.items()}
    return {name: record.result["deployment"] for name, record in first.items() if record}


def _interference(run: Run) -> str:
    """What company cost, where it was measured."""
    found = [r.result.get("interference") for o in run.outcomes.values() for r in o.benchmarks if r]
    seen = {(i["variant"], i["alone"], i["in_company"], 100 * i["loss"]) for i in found if i}
    words = [f"{name} alone {a:.4g}, in company {c:.4g} tokens/s ({x:.0f} % less)" for name, a, c, x in sorted(seen)]
    return "; ".join(words) or "not measured: nothing was a candidate for company"


def _kernels(run: Run) -> str:
    named = {name: found["kernels"] for name, found in _deployments(run).items() if found.get("kernels")}
    words = (f"{name}: {', '.join(f'{kernel} for {what}' for what, kernel in k.items())}" for name, k in named.items())
    return "; ".join(words) or "vLLM's log names none"


def _kv_caches(run: Run) -> str:
    """Equal for every variant, or what is left of the memory: two comparisons that answer differently."""
    tokens = {name: found.get("kv_cache_tokens") for name, found in _deployments(run).items()}
    known = {name: count for name, count in tokens.items() if count}
    if not known:
        return "vLLM's log does not say"
    if len(set(known.values())) == 1:
        return f"{next(iter(known.values())):,} tokens, equal for every variant"
    return "what the weights leave: " + ", ".join(f"{name} {count:,} tokens" for name, count in known.items())


def _libraries(run: Run) -> dict[str, str]:
    found: dict[str, str] = {}
    for outcome in run.outcomes.values():
        for step in outcome.plan.steps:
            found |= step.libraries
    return dict(sorted(found.items()))
