"""The tables of a comparison, once: the terminal, report.html and report.md show the same words."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from configs.decision import Decision
from configs.load import in_words
from flows.analysis.energy import JOULES
from flows.analysis.front import priced
from flows.analysis.judgement import Capacity, Estimate, Gain, Judged, Judgement, Point, Ratio
from flows.analysis.reasons import unit_of
from flows.reporting.accuracy_tables import accuracy
from flows.reporting.table import Table


def all_of(judgement: Judgement, decision: Decision) -> list[Table]:
    """Every table of a judgement, in reading order."""
    tables = [workloads(judgement, decision)] if judgement.workloads else []
    for workload in judgement.parts:
        tables += of_load(judgement, workload, decision)
    return tables + of_all_loads(judgement)


def workloads(judgement: Judgement, decision: Decision) -> Table:
    """One line a workload: its answer, and what the recommended variant is there."""
    limited, rows = bool(decision.constraints.latency_limits_ms), []
    for name, part in judgement.workloads.items():
        chosen = next((variant for variant in part.judged if variant.name == part.recommended), None)
        rows.append(
            (
                name,
                part.answer,
                chosen.name if chosen else "",
                _estimate(chosen.objective) if chosen and chosen.objective else "",
                _ratio(chosen.against_base) if chosen and chosen.against_base else "",
                *([_capacity(chosen.capacity) if chosen and chosen.capacity else ""] if limited else []),
            )
        )
    headers = ("workload", "answer", "variant", *_objective_headers(decision))
    return Table("workloads", "Workloads", headers, tuple(rows), words=("workload", "answer", "variant"))


def of_load(judgement: Judgement, workload: str, decision: Decision) -> list[Table]:
    """The tables of one load; those of a workload have its name in theirs."""
    part = judgement.parts[workload]
    if not part.judged:
        return []
    tables = [variants(part, decision), front(part), loads(part), same_load(part)]
    if not workload:
        return [table for table in tables if table]
    named = (replace(t, name=f"{t.name}-{workload}", title=f"{t.title}: {workload}") for t in tables if t)
    return list(named)


def of_all_loads(judgement: Judgement) -> list[Table]:
    """What does not depend on the load: who was stopped, and accuracy."""
    judged = next(iter(judgement.parts.values())).judged
    tables = [stopped(judgement)] if judged and judgement.stopped else []
    return tables + [accuracy(variant, judged[0]) for variant in judged if variant.differences]


def stopped(judgement: Judgement) -> Table:
    """Who was not measured in full, since when, and by which records; what for stands among the reasons."""
    rows = [
        (
            stop.name,
            stop.rule,
            f"{datetime.fromtimestamp(stop.at, UTC):%Y-%m-%d\n%H:%M:%S UTC}",
            str(stop.documents),
            ", ".join(stop.evidence),
        )
        for stop in judgement.stopped
    ]
    headers = ("variant", "verdict", "when", "documents\nanswered", "records")
    words = ("variant", "verdict", "when", "records")
    return Table("stopped", "Stopped early", headers, tuple(rows), words, wrapped=("records",))


def variants(judgement: Judgement, decision: Decision) -> Table:
    """One line a variant: what is decided on."""
    different = len({variant.gpus for variant in judgement.judged}) > 1
    rows = [
        (
            variant.name,
            *([f"{variant.gpus:g}"] if different else []),
            f"{variant.size_bytes / 1e6:.0f}",
            _estimate(variant.objective) if variant.objective else "not measured",
            _against_base(variant),
            *([_capacity(variant.capacity)] if variant.capacity else []),
            _verdict(variant, judgement),
        )
        for variant in judgement.judged
    ]
    headers = ("variant", *(["GPUs"] if different else []), "size MB", *_objective_headers(decision), "verdict")
    return Table("variants", "Variants", headers, tuple(rows))


def front(judgement: Judgement) -> Table | None:
    """Every operating point on the Pareto front, by accuracy, cost and latency; None where none was measured."""
    rows = [
        (
            point.variant,
            in_words(point.asked, point.unit),
            f"{point.cost:.4g}",
            f"{point.latency_ms:.0f}",
            f"{point.accuracy:+.3f}",
        )
        for point in judgement.pareto
    ]
    headers = ("variant", "load", cost_of_tokens(judgement.judged), "latency ms\np95", "accuracy\nagainst baseline")
    title = "Pareto front of accuracy, cost and latency, by means (ratios to the baseline in blocks)"
    return Table("front", title, headers, tuple(rows)) if rows else None


def cost_of_tokens(judged: Sequence[Judged]) -> str:
    """What the costs of some variants are, in words."""
    if priced(judged):
        return "price of a million\noutput tokens"
    return "device-hours a million\noutput tokens"


def _against_base(variant: Judged) -> str:
    """By the objective; of the baseline its control."""
    if variant.control:
        return f"control {_ratio(variant.control)}"
    return _ratio(variant.against_base) if variant.against_base else ""


def _objective_headers(decision: Decision) -> tuple[str, ...]:
    limited = bool(decision.constraints.latency_limits_ms)
    return (
        f"{decision.objective}\n{unit_of(decision)}",
        "ratio to baseline\n[interval]",
        *(["within the limits\nup to"] if limited else []),
    )


def _capacity(capacity: Capacity) -> str:
    """Between which points of the load the limit lies: the last that is shown to keep to it with all lighter ones, and
    the first that is not."""
    others = sorted((*capacity.violating, *capacity.not_shown))
    if capacity.asked is None and not others:
        return "not measured"
    if not others:
        return f"{in_words(capacity.asked or 0.0, capacity.unit)}\nor more"
    reach = "no load" if capacity.asked is None else in_words(capacity.asked, capacity.unit)
    again = ", ".join(f"{load:g}" for load in capacity.kept_again)
    word = "not" if others[0] in capacity.violating else "not shown"
    return f"{reach},\n{word} at {others[0]:g}{f', again at {again}' if again else ''}"


def loads(judgement: Judgement) -> Table:
    """Every point of the load."""
    rows, told = [], any(JOULES in point.figures for variant in judgement.judged for point in variant.points)
    for variant in judgement.judged:
        for index, point in enumerate(variant.points):
            rows.append((variant.name if index == 0 else "", *_point(point, with_energy=told)))
    headers = (
        "variant",
        "load",
        "tokens/s\n[interval]",
        "TTFT ms\np50 / p95",
        "TPOT ms\np50 / p95",
        *(["J/token\n[interval]"] if told else []),
        "requests\na repeat",
        "notes",
    )
    return Table("loads", "Under load, means over the repeats", headers, tuple(rows))


def same_load(judgement: Judgement) -> Table | None:
    """Every variant against the baseline at the same load, and the baseline against a second start of itself; None
    where nothing can be compared."""
    shown = {
        "output_tokens_per_second": "tokens/s",
        "ttft_p95_ms": "TTFT p95",
        "tpot_p95_ms": "TPOT p95",
        "request_latency_p95_ms": "latency p95",
    }
    if any(gain.figure == JOULES for variant in judgement.judged for gain in variant.gains):
        shown[JOULES] = "J/token"
    rows = []
    for variant in judgement.judged:
        grid = dict.fromkeys((gain.asked, gain.unit) for gain in variant.gains)
        for row, (load, unit) in enumerate(grid):
            at = {gain.figure: gain for gain in variant.gains if (gain.asked, gain.unit) == (load, unit)}
            cells = (_gain(at.get(figure)) for figure in shown)
            name = f"{variant.name} (control)" if variant.name == judgement.baseline else variant.name
            rows.append((name if row == 0 else "", in_words(load, unit), *cells))
    headers = ("variant", "load", *(f"{name}\n[interval]" for name in shown.values()))
    title = "Ratio to the baseline at the same load (above 1 is better)"
    return Table("same-load", title, headers, tuple(rows)) if rows else None


def _point(point: Point, *, with_energy: bool) -> tuple[str, ...]:
    figures = point.figures
    return (
        in_words(point.asked, point.unit),
        _estimate(figures["output_tokens_per_second"]),
        _pair(point, "ttft", 0),
        _pair(point, "tpot", 1),
        *([_estimate(figures[JOULES]) if JOULES in figures else ""] if with_energy else []),
        f"{figures['requests'].mean:.0f}",
        ", ".join((*point.labels, *point.violations, *point.unsure)),
    )


def _pair(point: Point, name: str, digits: int) -> str:
    values = [point.figures.get(f"{name}_{percentile}_ms") for percentile in ("p50", "p95")]
    return " / ".join(f"{value.mean:.{digits}f}" if value else "-" for value in values)


def _estimate(estimate: Estimate) -> str:
    bounds = (
        f"\n[{estimate.low:.4g}, {estimate.high:.4g}]" if estimate.low is not None and estimate.high is not None else ""
    )
    return f"{estimate.mean:.4g}{bounds}"


def _gain(gain: Gain | None) -> str:
    return "" if gain is None else _ratio(gain.ratio)


def _ratio(ratio: Ratio) -> str:
    if ratio.low is None and ratio.high is None:
        return f"{ratio.value:.2f}"
    low, high = (f"{bound:.2f}" if bound is not None else "..." for bound in (ratio.low, ratio.high))
    return f"{ratio.value:.2f}\n[{low}, {high}]"


def _verdict(variant: Judged, judgement: Judgement) -> str:
    words = "baseline" if variant.name == judgement.baseline else (variant.verdict or "")
    return f"{words}, recommended" if variant.name == judgement.recommended else words
