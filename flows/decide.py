"""The decision: the best variant by the objective among those that keep to everything asked for.

Keeping the base and not having enough evidence are real answers. Pure functions.
"""

from collections.abc import Mapping

from configs.decision import Decision
from flows.judgement import Answer, Difference, Judged, Judgement, Ratio, Stopped

_OBJECTIVES: dict[str, tuple[int, str]] = {
    "throughput": (1, "output tokens/s"),
    "goodput": (1, "good requests/s"),
    "capacity": (1, "of load within the limits"),
    "cost": (-1, "a million output tokens"),
    "ttft": (-1, "ms TTFT p95"),
    "itl": (-1, "ms ITL p95"),
    "size": (-1, "GB"),
}
"""Whether more (1) or less (-1) is better, and the unit in words, by objective."""


def better(decision: Decision) -> int:
    """1 where more of the objective is better, -1 where less is."""
    return _OBJECTIVES[decision.objective][0]


def unit_of(decision: Decision) -> str:
    """The unit of the objective, in words."""
    return _OBJECTIVES[decision.objective][1]


def decide(
    judged: list[Judged], decision: Decision, reasons: dict[str, str], load: str = "load", *, final: bool = True
) -> Judgement:
    """The best variant among those that pass everything; the base comes first in `judged`.

    A variant replaces a base that meets the constraints only where the repeats show it to be better. The base is
    kept only where no variant is still to be judged, as it might be better.

    Args:
        reasons: why the variants that are not judged are not.
        load: where the experiment asks for this load.
        final: whether no more variants will be judged.
    """
    base, ranked = judged[0], sorted(judged, key=lambda v: rank(v, decision))
    fit = [v for v in ranked if fits(v)]
    passing = [v for v in fit if v.verdict == "pass"]
    rival = rival_of(base)
    proven = [v for v in passing if leads(v, rival)]
    ahead = fit[: fit.index(rival)] if rival else fit
    unproven = [v for v in ahead if v in passing and v not in proven]
    unsure = [v for v in ahead if v.verdict == "inconclusive"]
    answer, sentence = _answer(next(iter(proven), None), rival, unproven, unsure, decision, load, final)
    if rival is None and all(point.void for point in base.points):
        answer, sentence = "not enough evidence", _nothing_to_beat(base)
    recommended = proven[0] if answer == "deploy" else rival if answer == "keep the base" else None
    undecided = recommended is None and not base.broken_constraints
    losers = [v for v in judged if v is not recommended and not (v is base and undecided)]
    lost = {v.name: "; slower: ".join(filter(None, (_why_not(v, recommended, decision), v.slower))) for v in losers}
    return Judgement(
        answer=answer,
        recommended=recommended.name if recommended else None,
        sentence=sentence,
        judged=tuple(judged),
        pareto=_pareto(judged),
        reasons=reasons | lost,
    )


def _answer(
    best: Judged | None,
    base: Judged | None,
    unproven: list[Judged],
    unsure: list[Judged],
    decision: Decision,
    load: str,
    final: bool,
) -> tuple[Answer, str]:
    """The answer in a word and in a sentence.

    Args:
        best: the best variant that passes, and is shown to be better than a base that is fit.
        base: the base, where it meets the constraints.
        unproven: variants that pass and are ahead of the base by less than the repeats can show.
        unsure: variants ahead of the base whose accuracy is inconclusive.
        load: where the experiment asks for the load.
        final: whether no more variants will be judged.
    """
    if best is not None:
        lead = f", {times(best.against_base)} the base's" if base is not None and best.against_base else ""
        return "deploy", f"Deploy {best.name}: best {describe_objective(best, decision)} of all that pass{lead}."
    if unproven:
        first = unproven[0]
        return "not enough evidence", (
            f"Not enough evidence: {first.name} passes and is ahead by {decision.objective}, but "
            f"{_unproven(first)}; raise {load}.repeats or {load}.duration_s."
        )
    if unsure:
        return "not enough evidence", (
            f"Not enough evidence: {', '.join(v.name for v in unsure)} would be better by {decision.objective}, but so "
            f"few documents cannot show that accuracy stays within {decision.constraints.max_accuracy_drop:g}."
        )
    if base is None:
        return "not enough evidence", "No variant, the base included, meets the constraints."
    none_better = f"no compressed variant that passes has a better {describe_objective(base, decision)}"
    if final:
        return "keep the base", f"Keep the base: {none_better}."
    return "not enough evidence", f"Not enough evidence: {none_better} yet."


def _nothing_to_beat(base: Judged) -> str:
    why = ", ".join(dict.fromkeys(label for point in base.points for label in point.labels))
    return f"Not enough evidence: no load of the base's counts ({why}), so that nothing can be compared with it."


def for_all(found: Mapping[str, Judgement], reasons: dict[str, str], stopped: tuple[Stopped, ...]) -> Judgement:
    """The answers for several workloads in one: the same for all, or one for each.

    Args:
        reasons: why some variants were not measured in full.
    """
    answers = dict.fromkeys((part.answer, part.recommended) for part in found.values())
    names = ", ".join(found)
    if len(answers) > 1:
        each = "; ".join(f"{name}: {_in_words(part.answer, part.recommended)}" for name, part in found.items())
        sentence = f"The answer depends on the workload: {each}."
        return Judgement("differs by workload", None, sentence, (), (), reasons, stopped, dict(found))
    answer, recommended = next(iter(answers))
    words = _in_words(answer, recommended)
    sentence = f"{words[0].upper()}{words[1:]} for every workload ({names})."
    return Judgement(answer, recommended, sentence, (), (), reasons, stopped, dict(found))


def _in_words(answer: Answer, recommended: str | None) -> str:
    return f"deploy {recommended}" if answer == "deploy" else answer


def times(ratio: Ratio) -> str:
    """A ratio with its interval, in words."""
    bounds = f" [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio.low is not None else ""
    return f"{ratio.value:.2f}{bounds} times"


def describe_objective(variant: Judged, decision: Decision) -> str:
    """The objective and a variant's value, in words."""
    value = f"{variant.objective.mean:.4g}" if variant.objective else "nothing measured"
    return f"{decision.objective} ({value} {unit_of(decision)})"


def rank(variant: Judged, decision: Decision) -> tuple[float, str]:
    """What variants are sorted by, the best by the objective first."""
    value = variant.objective.mean if variant.objective else float("-inf") * better(decision)
    return -better(decision) * value, variant.name


def fits(variant: Judged) -> bool:
    """Whether a variant has the objective, and breaks no constraint."""
    return variant.objective is not None and not variant.broken_constraints


def rival_of(base: Judged) -> Judged | None:
    """The base, where it meets the constraints: then a variant has to be better."""
    return base if fits(base) else None


def leads(variant: Judged, rival: Judged | None) -> bool:
    """Whether a variant is shown to be better than the base.

    Args:
        rival: as of `rival_of`; where there is none, whoever meets the constraints is better.
    """
    return rival is None or (variant.against_base is not None and variant.against_base.shown)


def standing(variant: Judged, rival: Judged | None, decision: Decision) -> tuple[bool, float, str]:
    """What variants are sorted by that may all pass, first whom the decision would take: those that are shown to be
    better than the base come before those that are not."""
    return (not leads(variant, rival), *rank(variant, decision))


def _unproven(variant: Judged) -> str:
    repeats = variant.points[0].repeats
    if variant.against_base is None:
        return "its lead cannot be given as a ratio"
    if variant.against_base.low is None:
        return f"its {times(variant.against_base)} the base's has no interval (3 repeats are needed, {repeats} made)"
    return f"its {times(variant.against_base)} the base's is no lead that {repeats} repeats show"


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
    passes = "passes, but " if variant.verdict else ""
    if variant.objective is None:
        return f"{passes}{decision.objective} could be measured at no load: {_why_unusable(variant)}"
    value = f"{variant.objective.mean:.4g}"
    if chosen is None:
        return f"{passes}{_unproven(variant)} ({value} {unit_of(decision)})"
    against = f", {times(variant.against_base)} the base's" if variant.against_base else ""
    return f"{passes}{chosen.name} has the better {describe_objective(chosen, decision)} against {value}{against}"


def _why_unusable(variant: Judged) -> str:
    return "; ".join(dict.fromkeys(why for point in variant.points for why in (*point.violations, *point.labels)))


def _needed(difference: Difference) -> str:
    needed = difference.documents_needed
    return f"; if it is what was found, about {needed:,} would settle it" if needed else ""


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
