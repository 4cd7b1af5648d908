"""In words: the objective, how a variant compares by it, and why one is not recommended. Pure functions."""

from dataclasses import replace

from configs.decision import Decision
from configs.load import in_words
from flows.analysis.energy import JOULES
from flows.analysis.judgement import Difference, Judged, Lead, Ratio
from flows.analysis.leads import excluded
from flows.analysis.performance import compared_figure

_OBJECTIVES: dict[str, tuple[int, str]] = {
    "throughput": (1, "output tokens/s"),
    "goodput": (1, "good requests/s"),
    "capacity": (1, "of load within the limits"),
    "cost": (-1, "a million output tokens"),
    "energy": (-1, "J an output token"),
    "ttft": (-1, "ms TTFT p95"),
    "tpot": (-1, "ms TPOT p95"),
    "size": (-1, "GB"),
}
"""Whether more (1) or less (-1) is better, and the unit in words, by objective."""
_FIGURES = {
    "output_tokens_per_second": "tokens/s",
    "goodput_per_second": "good requests/s",
    "ttft_p95_ms": "TTFT p95",
    "tpot_p95_ms": "TPOT p95",
    JOULES: "J an output token",
}
"""Figures that may decide an objective at a load, in words."""
_OF_BASE = "the baseline's"


def better(decision: Decision) -> int:
    """1 where more of the objective is better, -1 where less is."""
    return _OBJECTIVES[decision.objective][0]


def unit_of(decision: Decision) -> str:
    """The unit of the objective, in words."""
    return _OBJECTIVES[decision.objective][1]


def times(ratio: Ratio, of: str = "the baseline") -> str:
    """A ratio to something with its interval, in words."""
    if ratio.low is None and ratio.high is None:
        return f"{ratio.value:.2f}x {of}"
    low, high = (f"{bound:.2f}" if bound is not None else "..." for bound in (ratio.low, ratio.high))
    return f"{ratio.value:.2f}x {of} [{low}, {high}]"


def describe_objective(variant: Judged, decision: Decision) -> str:
    """The objective and a variant's value, in words."""
    value = f"{variant.objective.mean:.4g}" if variant.objective else "nothing measured"
    return f"{decision.objective} ({value} {unit_of(decision)})"


def rank(variant: Judged, decision: Decision) -> tuple[float, str]:
    """What variants are sorted by, the best by the objective first."""
    value = variant.objective.mean if variant.objective else float("-inf") * better(decision)
    return -better(decision) * value, variant.name


def order(variant: Judged, decision: Decision) -> tuple[float, float, str]:
    """What variants are sorted by that are compared with each other, the best first: how far they lead the baseline in
    blocks with it, as their own values were measured hours apart. Who has no lead comes last, by the objective."""
    lead = variant.against_base
    return (1, *rank(variant, decision)) if lead is None else (0, -lead.value, variant.name)


def fits(variant: Judged) -> bool:
    """Whether a variant has the objective, and is shown to meet every constraint."""
    return variant.objective is not None and not variant.broken_constraints and not variant.unsure_constraints


def losses(variant: Judged, decision: Decision) -> list[str]:
    """Loads at which a variant is shown to lose in the figure of the objective, or in output tokens a second, by as
    much as the smallest gain."""
    figures = {compared_figure(decision)[0], "output_tokens_per_second"}
    return [
        f"{times(gain.ratio, f'{_OF_BASE} {_FIGURES[gain.figure]}')} at {in_words(gain.asked, gain.unit)}"
        for gain in variant.gains
        if gain.figure in figures
        and gain.ratio.high is not None
        and gain.ratio.high < 1
        and gain.ratio.value <= 1 / (1 + decision.min_gain)
    ]


def unproven(variant: Judged, decision: Decision, load: str) -> str:
    """Why a gain is shown neither to be above the smallest one nor below, and what would settle it."""
    lead, gain = variant.against_base, f"{100 * decision.min_gain:g} %"
    if lead is None:
        return "it and the baseline have no usable load in common"
    comparison = times(lead)
    if decision.objective == "capacity" or (decision.objective == "goodput" and lead.at is None):
        return f"{comparison}: the loads show no gain above {gain}; add loads in between, or raise {load}.repeats"
    if lead.low is None:
        return f"{comparison} has no interval ({_few(lead)}); raise {load}.repeats"
    if excluded(lead, decision):
        return f"{comparison} excludes a gain above {gain}"
    if excluded(replace(lead, unsettled=()), decision):
        where = ", ".join(lead.unsettled)
        return f"it is not shown to satisfy the limits at {where}, but may gain more than {gain}; raise {load}.repeats"
    more = f" to about {lead.repeats_needed}" if lead.repeats_needed else ""
    bound = f" (at least {lead.sure:.2f} for all variants at once)" if lead.sure not in (None, lead.low) else ""
    several = lead.starts > 1
    made = f"{lead.repeats} repeats" + (f" in {lead.starts} starts" if several else "")
    advice = (
        f"{load}.starts{more}, and its repeats with them" if several else f"{load}.repeats{more} or {load}.duration_s"
    )
    return f"{comparison}{bound}: {made} show the gain to be neither above nor below {gain}; raise {advice}"


def _few(lead: Lead) -> str:
    """What an interval would need."""
    if lead.starts > 1:
        return f"{lead.starts} starts of a single variant without a control are too few"
    return f"3 repeats are needed, {lead.repeats} were made"


def why_unfit(variant: Judged, decision: Decision) -> str:
    """Why a variant that breaks nothing is not known to be one to deploy."""
    if variant.unsure_constraints:
        return f"is not shown to meet the constraints: {'; '.join(variant.unsure_constraints)}"
    return f"{decision.objective} could not be measured at any load: {why_unusable(variant, decision)}"


def why_not(variant: Judged, chosen: Judged | None, decision: Decision, load: str) -> str:
    if variant.broken_constraints:
        return "; ".join(variant.broken_constraints)
    for verdict in ("fail", "inconclusive"):
        if difference := next((d for d in variant.differences if d.verdict == verdict), None):
            return why_no_pass(difference)
    passes = "passes, but " if variant.verdict else ""
    if variant.objective is None:
        return f"{passes}{decision.objective} could not be measured at any load: {why_unusable(variant, decision)}"
    if variant.unsure_constraints:
        return f"{passes}{why_unfit(variant, decision)}"
    value = f"{variant.objective.mean:.4g}"
    against = f" ({times(variant.against_base)})" if variant.against_base else ""
    if chosen and rank(variant, decision) >= rank(chosen, decision):
        has_more = f"{chosen.name} has the better {describe_objective(chosen, decision)}"
        return f"{passes}{has_more}; this one has {value}{against}"
    if chosen and chosen.against_base and order(chosen, decision) < order(variant, decision):
        leads = f"{chosen.name} leads the baseline by more ({times(chosen.against_base)})"
        return f"{passes}{leads}; this one has {value}{against}"
    return f"{passes}{unproven(variant, decision, load)}; measured: {value} {unit_of(decision)}"


def why_unusable(variant: Judged, decision: Decision) -> str:
    """What is wrong with the loads of a variant that has no objective."""
    words = [why for point in variant.points for why in (*point.violations, *point.unsure, *point.labels)]
    if decision.objective == "energy" and not any(JOULES in point.figures for point in variant.points):
        words.append("not every repeat tells its energy")
    return "; ".join(dict.fromkeys(words))


def why_no_pass(difference: Difference) -> str:
    """Why a task was not passed, by what it is judged by, and what would settle it."""
    changes = f"changes by {difference.difference:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    kept = (difference.recovery, difference.recovery_low, difference.recovery_high)
    if difference.min_recovery is not None and None not in kept:
        share, low, high = (f"{100 * (value or 0.0):.1f}" for value in kept)
        changes = f"keeps {share} % [{low}, {high}]"
    summary = f"{difference.task} {difference.metric} {changes}"
    if difference.verdict == "fail":
        return f"fails: {summary}, beyond {difference.limit}"
    if difference.undecidable:
        return f"inconclusive: {summary}, but {difference.undecidable}"
    if difference.min_recovery is not None and difference.recovery is None:
        return f"inconclusive: {summary}, but the baseline's value is too small for a recovery"
    return f"inconclusive: {summary} crosses {difference.limit}{_shown_by(difference)}"


def _shown_by(difference: Difference) -> str:
    """What so many documents could have shown, and how many would do."""
    count = f"{difference.documents:,} documents" + (
        f" of {difference.sources:,} sources" if difference.sources else ""
    )
    words = (
        f"; {count} can show a loss of {difference.smallest_detectable:.3f} or more"
        if difference.smallest_detectable
        else ""
    )
    if needed := in_words_needed(difference):
        words += f"; if the measured change is the true one, about {needed} would settle it"
    return words


def in_words_needed(difference: Difference) -> str | None:
    """How many documents, or sources, would settle what is inconclusive; None where that is not known."""
    if difference.sources_needed:
        return f"{difference.sources_needed:,} sources"
    return f"{difference.documents_needed:,} documents" if difference.documents_needed else None
