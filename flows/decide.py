"""The decision: the best variant by the objective among those that keep to everything asked for.

Keeping the base and not having enough evidence are real answers. Pure functions.
"""

from configs.decision import Decision
from flows.judgement import Answer, Difference, Judged, Judgement


def decide(judged: list[Judged], decision: Decision, reasons: dict[str, str]) -> Judgement:
    """The best variant by the objective among those that pass everything; the base is a candidate."""
    ranked = sorted(judged, key=lambda v: _rank(v, decision))
    eligible = [v for v in ranked if not v.broken_constraints and v.verdict in (None, "pass")]
    chosen = eligible[0] if eligible else None
    ahead = ranked[: ranked.index(chosen)] if chosen else ranked
    undecided = [v.name for v in ahead if v.verdict == "inconclusive" and not v.broken_constraints]
    answer, sentence = _answer(chosen, undecided, judged[0], decision)
    recommended = chosen if answer in ("deploy", "keep the base") else None
    lost = {v.name: _why_not(v, recommended, decision) for v in judged if v is not recommended}
    return Judgement(
        answer=answer,
        recommended=recommended.name if recommended else None,
        sentence=sentence,
        judged=tuple(judged),
        pareto=_pareto(judged),
        reasons=reasons | lost,
    )


def _answer(chosen: Judged | None, undecided: list[str], base: Judged, decision: Decision) -> tuple[Answer, str]:
    """The answer in a word and in a sentence."""
    if undecided and chosen in (None, base):
        return "not enough evidence", (
            f"Not enough evidence: {', '.join(undecided)} would be better by {decision.objective}, but so few "
            f"documents cannot show that accuracy stays within {decision.constraints.max_accuracy_drop:g}."
        )
    if chosen is None:
        return "not enough evidence", "No variant, the base included, meets the constraints."
    objective = describe_objective(chosen, decision)
    if chosen is base:
        return "keep the base", f"Keep the base: no compressed variant that passes has a better {objective}."
    against = f"the base has {_objective_value(base, decision):.4g}"
    return "deploy", f"Deploy {chosen.name}: best {objective} of all that pass; {against}."


_OBJECTIVES: dict[str, tuple[str, float, str, float]] = {
    "throughput": ("throughput", -1, "output tokens/s", 1),
    "ttft": ("ttft_p95_ms", 1, "TTFT p95 in ms", 1),
    "itl": ("itl_p95_ms", 1, "ITL p95 in ms", 1),
    "size": ("size_bytes", 1, "size in GB", 1e-9),
}
"""Attribute, sign that makes small good, words, and scale, by objective."""


def _rank(variant: Judged, decision: Decision) -> tuple[float, str]:
    attribute, sign, _, _ = _OBJECTIVES[decision.objective]
    return sign * getattr(variant, attribute), variant.name


def _objective_value(variant: Judged, decision: Decision) -> float:
    attribute, _, _, scale = _OBJECTIVES[decision.objective]
    return float(getattr(variant, attribute)) * scale


def describe_objective(variant: Judged, decision: Decision) -> str:
    """The objective and a variant's value, in words."""
    return f"{decision.objective} ({_objective_value(variant, decision):.4g} {_OBJECTIVES[decision.objective][2]})"


def _why_not(variant: Judged, chosen: Judged | None, decision: Decision) -> str:
    if variant.broken_constraints:
        return "; ".join(variant.broken_constraints)
    margin = decision.constraints.max_accuracy_drop
    for difference in variant.differences:
        bounds = f"[{difference.low:+.3f}, {difference.high:+.3f}]"
        interval = f"{difference.task} {difference.metric} changes by {difference.difference:+.3f} {bounds}"
        if difference.verdict == "fail":
            return f"fails: {interval}, beyond the margin of {margin:g}"
        if difference.verdict == "inconclusive":
            return (
                f"inconclusive: {interval} reaches over the margin of {margin:g}; {difference.documents} documents "
                f"show losses from {difference.smallest_detectable:.3f}{_needed(difference)}"
            )
    if chosen is None:
        return "not better than what was chosen"
    values = f"{describe_objective(chosen, decision)} against {_objective_value(variant, decision):.4g}"
    return f"passes, but {chosen.name} has the better {values}"


def _needed(difference: Difference) -> str:
    return f"; about {difference.documents_needed} would settle it" if difference.documents_needed else ""


def _pareto(judged: list[Judged]) -> tuple[str, ...]:
    """Variants that no other beats in throughput, size and accuracy at once."""
    axes = {v.name: (v.throughput, -v.size_bytes, _accuracy(v)) for v in judged}

    def beaten(name: str) -> bool:
        mine = axes[name]
        return any(o != mine and all(a >= b for a, b in zip(o, mine, strict=True)) for o in axes.values())

    return tuple(name for name in axes if not beaten(name))


def _accuracy(variant: Judged) -> float:
    """Mean difference from the base over judged tasks; 0 for the base itself."""
    changes = [d.difference for d in variant.differences if d.verdict]
    return sum(changes) / len(changes) if changes else 0.0
