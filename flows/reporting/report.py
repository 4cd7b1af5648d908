"""What a person reads: the terminal's comparison, decision.json, report.html and report.md, all from the
records."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.table
from jinja2 import Environment, FileSystemLoader
from rich import box
from rich.console import Console, JustifyMethod

from actors.artifacts import EngineReport
from configs.decision import Decision
from configs.load import Load
from flows.analysis.compare import accuracy_of
from flows.analysis.energy import IDLE
from flows.analysis.judgement import Judgement
from flows.analysis.points import LATENCY_WORDS
from flows.reporting import tables
from flows.reporting.table import Table
from flows.runtime.context import Run
from flows.store.records import Record
from flows.store.results import Benchmark


@dataclass(frozen=True)
class Part:
    """What the report says of one load."""

    workload: str
    """Empty where the experiment has one load."""
    judgement: Judgement
    reasons: dict[str, str]
    """Why variants lost under this load, when not for a reason that holds for all."""
    tables: list[Table]

    @property
    def suffix(self) -> str:
        """What the ids of its tables and figures end in."""
        return f"-{self.workload}" if self.workload else ""


def write(run: Run, judgement: Judgement, *, anew: bool = True) -> None:
    """Write decision.json, report.html and report.md into the experiment's folder.

    Args:
        anew: also where they are there already. The figures draw what the words beside them say, and take longest.
    """
    experiment = run.plan.experiment
    words = {"decision.json": judgement.to_json(), "report.md": _rendered("report.md", run, judgement)}
    unchanged = all(run.store.kept_text(experiment.name, name) == text for name, text in words.items())
    if unchanged and not anew and (experiment.results / "report.html").exists():
        return
    from flows.reporting import plots  # a second, which nobody spends who only looks at a run

    html = _rendered("report.html", run, judgement, plots=plots)
    for name, text in {"report.html": html, **words}.items():
        run.store.keep_text(experiment.name, name, text)


def show(run: Run, judgement: Judgement, console: Console) -> None:
    """The comparison on the terminal."""
    console.print()
    for table in tables.all_of(judgement, run.plan.experiment.decision):
        console.print(_terminal(table))
    if judgement.workloads:
        _show_reasons(judgement.reasons, console)
    for part in _parts(judgement, run.plan.experiment.decision):
        if part.workload:
            console.print(f"\n[bold]{part.workload}[/bold]: {part.judgement.sentence}", highlight=False)
        _show_reasons(part.reasons, console)
    console.print(f"\n[bold]{judgement.sentence}[/bold]", highlight=False)


def _show_reasons(reasons: dict[str, str], console: Console) -> None:
    for name, reason in reasons.items():
        console.print(f"[bold]{name}[/bold]: {reason}", highlight=False)


def _terminal(content: Table) -> rich.table.Table:
    table = rich.table.Table(title=content.title, box=box.SIMPLE_HEAD)
    for header in content.headers:
        justify: JustifyMethod = "left" if header in content.words else "right"
        table.add_column(header, justify=justify, no_wrap=header not in content.wrapped)
    for row in content.rows:
        table.add_row(*row)
    return table


def _rendered(name: str, run: Run, judgement: Judgement, **more: Any) -> str:
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
        overview=tables.workloads(judgement, decision) if judgement.workloads else None,
        parts=_parts(judgement, decision),
        shared=tables.of_all_loads(judgement),
        limits=decision.constraints,
        how=_how(run, judgement),
        evidence=_evidence(judgement),
        **more,
    )


def _parts(judgement: Judgement, decision: Decision) -> list[Part]:
    """Load by load."""
    shared = judgement.reasons if judgement.workloads else {}
    return [
        Part(
            workload=workload,
            judgement=part,
            reasons={name: reason for name, reason in part.reasons.items() if name not in shared},
            tables=tables.of_load(judgement, workload, decision),
        )
        for workload, part in judgement.parts.items()
    ]


def _evidence(judgement: Judgement) -> dict[str, str]:
    """For every variant the steps and fingerprints of its records, each once."""
    by_variant: dict[str, dict[str, str]] = {}
    for workload, part in judgement.parts.items():
        for variant in part.judged:
            for step, fingerprint in variant.evidence.items():
                of_load = workload and step.startswith("benchmark")
                by_variant.setdefault(variant.name, {})[f"{workload} {step}" if of_load else step] = fingerprint
    return {name: ", ".join(f"{k} {v}" for k, v in records.items()) for name, records in by_variant.items()}


def _how(run: Run, judgement: Judgement) -> list[tuple[str, str]]:
    """How it was measured, as pairs of words."""
    plan, experiment, evidence = run.plan, run.plan.experiment, run.evidence
    loaded = [pair for workload, load in experiment.loads.items() for pair in _how_loaded(run, workload, load)]
    return [
        ("hardware", f"{plan.hardware.name}, {plan.hardware.cores} cores, {plan.hardware.accelerator}"),
        ("compute dtype", plan.compute_dtype),
        *((name, outcome.plan.in_words) for name, outcome in run.outcomes.items() if outcome.plan.is_told),
        *loaded,
        ("kernels", _kernels(run)),
        ("KV cache", _kv_caches(run)),
        *_draft_acceptance(judgement),
        *_energy(judgement),
        ("prefix caching", "on" if experiment.serving.prefix_caching else "off"),
        ("accuracy engine", experiment.accuracy.engine),
        (
            "intervals",
            f"{100 * experiment.decision.confidence:g} %; accuracy: of differences on the same documents, "
            f"{100 * accuracy_of(evidence).confidence:.4g} % for {evidence.compared} variants at once; load: over "
            "repeats (Student's t); ratios to the baseline: over its turns in the same block, by starts if there are "
            "several",
        ),
        ("latencies", _latencies(experiment.loads)),
        ("requirements", _requirements(experiment.decision)),
        *_how_limited(experiment.decision),
        ("libraries", ", ".join(f"{k} {v}" for k, v in _libraries(run).items())),
        ("reproduce", f"the records in {run.store.root}/records, by the fingerprints below"),
    ]


def _how_loaded(run: Run, workload: str, load: Load) -> list[tuple[str, str]]:
    """How one load was put on the variants."""
    benchmarks = run.plan.experiment.benchmarks
    pairs = (pair for outcome in run.outcomes.values() for pair in zip(benchmarks, outcome.benchmarks, strict=True))
    records = [record for (name, _), record in pairs if record and name == workload]
    together = {record.result.company for record in records}
    companies = [", ".join(names) for names in sorted(together) if names]
    differ = ", ".join(f"{name} {value}" for name, value in load.lengths.items())
    fewest = f" and at least {load.requests} requests" if load.requests else ""
    shape = (
        f"{load.prompt_tokens} prompt and {load.output_tokens} output tokens{f' ({differ})' if differ else ''}, "
        f"{load.duration_s:g} s{fewest} a point after {load.warmup_s:g} s of warm-up"
        f"{' or until it is steady' if load.open_loop else ''}, {_repeats(load)} repeats in turn with the baseline, "
        f"{load.starts_on(run.plan.hardware.accelerator)} starts of each, seed {load.seed} and the following ones"
    )
    rows = [
        ("load", shape),
        ("benchmarked", f"together: {'; '.join(companies)}" if companies else "one variant at a time"),
        ("interference", _interference(records)),
    ]
    return [(f"{workload}: {key}" if workload else key, words) for key, words in rows]


def _repeats(load: Load) -> str:
    looks = ", ".join(map(str, load.looks[:-1]))
    return f"{load.looks[-1]}" if len(load.looks) == 1 else f"at most {load.looks[-1]} (ended at {looks} if enough)"


def _requirements(decision: Decision) -> str:
    """The objective, and what a variant must keep to."""
    limits, words = decision.constraints, [f"best {decision.objective}, by more than {100 * decision.min_gain:g} %"]
    words.append(
        f"accuracy at most {limits.max_accuracy_drop:g} below the baseline on every task without a limit of its own"
    )
    words += [f"{LATENCY_WORDS[name]} p95 at most {limit:g} ms" for name, limit in limits.latency_limits_ms.items()]
    if limits.max_size_gb is not None:
        words.append(f"size at most {limits.max_size_gb:g} GB")
    return "; ".join(words)


def _how_limited(decision: Decision) -> list[tuple[str, str]]:
    if not decision.constraints.latency_limits_ms:
        return []
    words = (
        "a variant's capacity lies between two loads of the grid: the last that satisfies the limits with all "
        "lighter ones, and the first that does not; nothing was measured between them"
    )
    return [("limits", words)]


def _latencies(loads: dict[str, Load]) -> str:
    moments = {name: "sent" if load.kind == "concurrent" else "due" for name, load in loads.items()}
    if len(set(moments.values())) == 1:
        return f"from when a request was {next(iter(moments.values()))}"
    return "; ".join(f"{name}: from when a request was {moment}" for name, moment in moments.items())


def _deployments(run: Run) -> dict[str, EngineReport]:
    """What every variant's engine said of itself, at its first repeat."""
    first = {name: outcome.benchmarks[0] for name, outcome in run.outcomes.items()}
    return {name: record.result.deployment for name, record in first.items() if record}


def _interference(records: Iterable[Record[Benchmark]]) -> str:
    """What co-location cost, where it was measured."""
    measurements = [record.result.interference for record in records]
    losses = {(i.variant, i.alone, i.in_company, 100 * i.loss) for i in measurements if i}
    words = [f"{name} alone {a:.4g}, co-located {c:.4g} tokens/s ({x:.0f} % less)" for name, a, c, x in sorted(losses)]
    return "; ".join(words) or "not measured: no two engines ran at the same time"


def _kernels(run: Run) -> str:
    used: dict[str, list[str]] = {}
    for name, deployment in _deployments(run).items():
        if kernels := deployment.kernels:
            used.setdefault(", ".join(f"{kernel} for {what}" for what, kernel in kernels.items()), []).append(name)
    words = (f"{kernels} ({', '.join(names)})" for kernels, names in used.items())
    return "; ".join(words) or "vLLM's log names none"


def _kv_caches(run: Run) -> str:
    """Equal for every variant, or what is left of the memory: two comparisons that answer differently."""
    tokens = {name: deployment.kv_cache_tokens for name, deployment in _deployments(run).items()}
    reported = {name: count for name, count in tokens.items() if count}
    if not reported:
        return "vLLM's log does not say"
    if len(set(reported.values())) == 1:
        return f"{next(iter(reported.values())):,} tokens, equal for every variant"
    return "the memory that the weights leave: " + ", ".join(
        f"{name} {count:,} tokens" for name, count in reported.items()
    )


def _draft_acceptance(judgement: Judgement) -> list[tuple[str, str]]:
    """Of the variants whose engine guesses tokens; none where no log told."""
    words = [
        f"{variant.name}: {figure.mean:.2f} at {f'{workload}, ' if workload else ''}{point.in_words}"
        for workload, part in judgement.parts.items()
        for variant in part.judged
        for point in variant.points
        if (figure := point.figures.get("draft_acceptance"))
    ]
    return [("draft acceptance", "; ".join(words))] if words else []


def _energy(judgement: Judgement) -> list[tuple[str, str]]:
    """How it was measured, and what was taken off; nothing where no GPU told."""
    idle: dict[str, list[float]] = {}
    for part in judgement.parts.values():
        for variant in part.judged:
            idle.setdefault(variant.name, []).extend(p.figures[IDLE].mean for p in variant.points if IDLE in p.figures)
    watts = ", ".join(f"{name} {sum(each) / len(each):.0f} W" for name, each in idle.items() if each)
    words = "of the engine's GPUs by NVML's counter, without their power while the engine is up and has no request: "
    return [("energy", words + watts)] if watts else []


def _libraries(run: Run) -> dict[str, str]:
    versions: dict[str, str] = {}
    for outcome in run.outcomes.values():
        for step in outcome.plan.steps:
            versions |= step.libraries
    return dict(sorted(versions.items()))
