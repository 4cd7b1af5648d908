"""Whether the repeats of a load are enough, where they go on until they are (`repeats: auto`).

One looks after every four. They are enough where the variant's gain is shown to be above the smallest one, or below
it, or where its accuracy is shown to fail, as more repeats would change nothing then; of the baseline, where its
control is shown to be nearer to itself than the smallest gain. How often one looks is known before, and the error of
each bound is split evenly over the looks (Bonferroni), so whenever one stops, it is as rare as promised: at the last
look no less than at the first. The result of a look is a record of its own: restarted, an experiment goes on where it
was.
"""

from configs.decision import Decision
from flows.analysis import compare, leads
from flows.analysis.judgement import Lead
from flows.analysis.measured import Measured, base_under_load, spread_among, under_load
from flows.runtime.outcome import Evidence, Outcome


def enough(evidence: Evidence, outcome: Outcome, workload: str) -> tuple[bool, str]:
    """Whether the repeats of a load are enough, and why."""
    experiment, decision, base = evidence.experiment, evidence.experiment.decision, evidence.baseline
    ours = Measured.of(outcome, experiment, workload)
    if outcome.name == base.name:
        return _of_base(ours, decision)
    if compare.fails(evidence, outcome):
        return True, "its accuracy is shown to fail"
    control = Measured.of(base, experiment, workload) if any(base.benchmarks) else None
    spread = spread_among([ours], control if control and control.base else None)
    size = base.checkpoint.result.weight_bytes if base.checkpoint else ours.size_bytes
    lead = under_load(ours, size, decision, evidence.compared, spread).against_base
    if lead is None:
        return False, "it and the baseline have no usable load in common"
    shown = leads.shown(lead, decision) or leads.excluded(lead, decision)
    return shown, f"{lead.value:.3f}x the baseline after {lead.repeats} repeats"


def _of_base(base: Measured, decision: Decision) -> tuple[bool, str]:
    if decision.objective == "size":
        return True, "its size does not depend on the load"
    control = base_under_load(base, decision, spread_among([], base)).control
    if control is None:
        return False, "no load compares it with its second start"
    return near(control, decision.min_gain), f"a second start of the baseline is {control.value:.3f}x the first"


def near(control: Lead, gain: float) -> bool:
    """Whether the baseline is shown to be nearer to itself than a gain."""
    if control.low is None or control.high is None:
        return False
    return control.low * (1 + gain) > 1 and control.high < 1 + gain
