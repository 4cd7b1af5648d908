"""The decision: the best variant by the objective among those that meet every requirement.

Keeping the baseline and not having enough evidence are real answers. Pure functions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from configs.decision import Decision
from flows.analysis.front import front
from flows.analysis.judgement import Answer, Judged, Judgement, Stopped
from flows.analysis.leads import excluded, shown
from flows.analysis.reasons import (
    better,
    describe_objective,
    fits,
    in_words_needed,
    losses,
    order,
    rank,
    times,
    unproven,
    why_not,
    why_unfit,
    why_unusable,
)


def decide(
    judged: list[Judged],
    decision: Decision,
    reasons: dict[str, str],
    load: str = "load",
    *,
    final: bool = True,
    stopped: tuple[Stopped, ...] = (),
) -> Judgement:
    """The best variant among those that pass everything; the baseline comes first in `judged`.

    A variant replaces a baseline that meets the constraints only where its gain is shown to be above the smallest one.
    The baseline is kept only where every variant is shown to lose, and none is still to be judged, as it might be
    better.

    Args:
        reasons: why the variants that are not judged are not.
        load: the experiment's section with this load.
        final: whether no more variants will be judged.
        stopped: variants that were measured until they could not win any more.
    """
    base, ranked = judged[0], sorted(judged, key=lambda v: order(v, decision))
    rival, wording = rival_of(base), _Wording(base, decision, load, final)
    passing = [v for v in ranked if v is not base and fits(v) and v.verdict == "pass"]
    proven = [v for v in passing if leads(v, rival, decision)]
    unlost = [v for v in ranked if v is not base and not _lost(v, rival, decision)]
    if len(judged) == 1 and not stopped:
        answer, sentence = wording.nothing_measured(reasons)
    elif rival is None and not base.broken_constraints:
        answer, sentence = wording.nothing_to_beat()
    elif proven:
        answer, sentence = wording.deploy(proven[0], rival)
    else:
        answer, sentence = wording.without_a_lead(unlost, rival)
    recommended = proven[0] if answer == "deploy" else rival if answer == "keep the baseline" else None
    undecided = recommended is None and not base.broken_constraints
    losers = [v for v in judged if v is not recommended and not (v is base and undecided)]
    lost = {
        v.name: "; slower: ".join(filter(None, (why_not(v, recommended, decision, load), v.slower))) for v in losers
    }
    return Judgement(
        answer=answer,
        recommended=recommended.name if recommended else None,
        sentence=sentence,
        judged=tuple(judged),
        pareto=front(judged),
        reasons=reasons | lost,
        stopped=stopped,
        baseline=base.name,
    )


def _lost(variant: Judged, rival: Judged | None, decision: Decision) -> bool:
    """Whether a variant is shown not to be one to deploy."""
    if variant.broken_constraints or variant.verdict == "fail":
        return True
    lead = variant.against_base
    if rival is None or lead is None:
        return False
    return excluded(lead, decision) or (_outrun(variant, rival, decision) and _apart(variant, rival, decision))


def _outrun(variant: Judged, rival: Judged, decision: Decision) -> bool:
    """Whether the baseline has the better objective all the same, as it keeps a load that the variant is not shown
    to."""
    pairs = zip(variant.points, rival.points, strict=True)
    more = any(base.usable and not mine.usable for mine, base in pairs)
    return more and rank(rival, decision) < rank(variant, decision)


def _apart(variant: Judged, rival: Judged, decision: Decision) -> bool:
    """Whether the baseline's objective is shown to be better, and the variant to break what only the baseline keeps."""
    pairs = zip(variant.points, rival.points, strict=True)
    if any(base.usable and mine.standing == "not shown" for mine, base in pairs):
        return False
    worse, best = (variant.objective, rival.objective)[:: better(decision)]
    return worse is not None and best is not None and (worse.high or math.inf) < (best.low or -math.inf)


@dataclass(frozen=True)
class _Wording:
    """The answers with their sentences, and what these are made of."""

    base: Judged
    decision: Decision
    load: str
    """The experiment's section with the load."""
    final: bool
    """Whether no more variants will be judged."""

    def nothing_measured(self, reasons: dict[str, str]) -> tuple[Answer, str]:
        """Without a variant nothing is said of the baseline either."""
        if not self.final:
            return "not enough evidence", "Not enough evidence: no other variant has been measured yet."
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "the experiment has none"
        return "nothing was measured", f"Nothing can be compared: no other variant was measured ({why})."

    def nothing_to_beat(self) -> tuple[Answer, str]:
        """The baseline is shown neither to meet the constraints nor to break one."""
        labels = dict.fromkeys(label for point in self.base.points for label in point.labels)
        if all(point.void for point in self.base.points):
            why = f"every load of the baseline is void ({', '.join(labels)}), so nothing can be compared with it"
        elif self.base.unsure_constraints:
            why = f"the baseline is not shown to meet the constraints ({'; '.join(self.base.unsure_constraints)})"
            why += f"; raise {self.load}.repeats or {self.load}.duration_s"
        else:
            unusable = why_unusable(self.base, self.decision)
            why = f"the baseline has no {self.decision.objective} at any load ({unusable})"
        return "not enough evidence", f"Not enough evidence: {why}."

    def deploy(self, best: Judged, rival: Judged | None) -> tuple[Answer, str]:
        """The best of those that are shown to be better, with what is lost elsewhere."""
        lead = f", {times(best.against_base)}" if rival and best.against_base else ""
        where = f" at {best.against_base.at}" if lead and best.against_base and best.against_base.at else ""
        lost = losses(best, self.decision)
        but = f" But it loses elsewhere: {'; '.join(lost)}." if lost else ""
        words = describe_objective(best, self.decision)
        control = self._control if lead else ""
        return "deploy", f"Deploy {best.name}: best {words} of all variants that pass{lead}{where}{control}.{but}"

    @property
    def _control(self) -> str:
        """How far the baseline is from itself, in words; empty where no control was made."""
        again = self.base.control
        return f" (control: a second start of the baseline, {times(again, 'the first')})" if again else ""

    def without_a_lead(self, unlost: list[Judged], rival: Judged | None) -> tuple[Answer, str]:
        """No variant is shown to be one to deploy.

        Args:
            unlost: variants that are not shown to be none either, the best by the objective first.
        """
        if unlost:
            return "not enough evidence", f"Not enough evidence: {self._missing(unlost, rival)}."
        if rival is None:
            return "not enough evidence", "No variant, the baseline included, meets the constraints."
        gain = f"{100 * self.decision.min_gain:g} % over the baseline's {describe_objective(rival, self.decision)}"
        if self.final:
            return (
                "keep the baseline",
                f"Keep the baseline: every other variant is shown to fail or to gain at most {gain}.",
            )
        return (
            "not enough evidence",
            f"Not enough evidence: no other variant is shown to gain more than {gain} yet.",
        )

    def _missing(self, unlost: list[Judged], rival: Judged | None) -> str:
        """What of a measurement would settle the first of them, and of all whose accuracy is open."""
        measure = f"raise {self.load}.repeats or {self.load}.duration_s"
        first = unlost[0]
        if first.verdict == "pass" and not fits(first):
            return f"{first.name} passes, but {why_unfit(first, self.decision)}; {measure}"
        if first.verdict == "pass" and rival is not None:
            return f"{first.name} passes, but {unproven(first, self.decision, self.load)}{self._control}"
        names = ", ".join(v.name for v in unlost if v.verdict != "pass")
        better = f"{names} may be better by {self.decision.objective}, but"
        unsure = [d for v in unlost for d in v.differences if d.verdict == "inconclusive"]
        if not unsure:
            return f"{better} no task is judged: a perplexity without a `recovery` is only shown"
        limits = ", ".join(dict.fromkeys(f"{d.limit} on {d.task}" for d in unsure))
        needed = {d.sources_needed or d.documents_needed or 0: in_words_needed(d) for d in unsure}
        more = f"; about {needed[max(needed)]} would settle it" if max(needed) else ""
        return f"{better} accuracy is not shown to meet {limits}{more}"


def for_all(judgements: Mapping[str, Judgement], reasons: dict[str, str], stopped: tuple[Stopped, ...]) -> Judgement:
    """The answers for several workloads in one: the same for all, or one for each.

    Args:
        reasons: why some variants were not measured in full.
    """
    answers = dict.fromkeys((part.answer, part.recommended) for part in judgements.values())
    names, baseline = ", ".join(judgements), next(iter(judgements.values())).baseline
    if len(answers) > 1:
        each = "; ".join(f"{name}: {_in_words(part.answer, part.recommended)}" for name, part in judgements.items())
        sentence = f"The answer depends on the workload: {each}."
        return Judgement("differs by workload", None, sentence, (), (), reasons, stopped, dict(judgements), baseline)
    answer, recommended = next(iter(answers))
    words = _in_words(answer, recommended)
    sentence = f"{words[0].upper()}{words[1:]} for every workload ({names})."
    return Judgement(answer, recommended, sentence, (), (), reasons, stopped, dict(judgements), baseline)


def _in_words(answer: Answer, recommended: str | None) -> str:
    return f"deploy {recommended}" if answer == "deploy" else answer


def rival_of(base: Judged) -> Judged | None:
    """The baseline, where it meets the constraints: then a variant has to be better."""
    return base if fits(base) else None


def leads(variant: Judged, rival: Judged | None, decision: Decision) -> bool:
    """Whether a variant is shown to be better than the baseline by more than the smallest gain, for all variants at
    once.

    Args:
        rival: as of `rival_of`; where there is none, whoever meets the constraints is better.
    """
    if rival is None:
        return True
    lead = variant.against_base
    return lead is not None and shown(lead, decision) and not _outrun(variant, rival, decision)


def standing(variant: Judged, rival: Judged | None, decision: Decision) -> tuple[bool, float, float, str]:
    """What variants are sorted by that may all pass, first whom the decision would take: those that are shown to be
    better than the baseline come before those that are not."""
    return (not leads(variant, rival, decision), *order(variant, decision))
