"""What a difference from the baseline is judged by: a margin, or a recovery. Pure functions."""

from dataclasses import dataclass

from configs.decision import Decision
from configs.metrics import OF_SUMS, PERPLEXITIES
from flows.analysis.answers import TaskAnswers
from flows.analysis.judgement import Verdict
from flows.statistics.intervals import Bounds


@dataclass(frozen=True)
class Criterion:
    """What a difference is judged by."""

    margin: float | None
    """Largest loss in the metric's own unit; None where a recovery is required."""
    recovery: float | None
    """Smallest share of the baseline's value; None where a margin is required."""
    judges: bool = True

    @classmethod
    def of(cls, answers: TaskAnswers, decision: Decision) -> "Criterion":
        """A task's own, or the experiment's."""
        if answers.recovery is not None:
            return cls(None, answers.recovery)
        unit = 100 if answers.kind in OF_SUMS else 1
        margin = answers.margin if answers.margin is not None else unit * decision.constraints.max_accuracy_drop
        return cls(margin, None, judges=answers.kind not in PERPLEXITIES)

    def allowed(self, base: float) -> float:
        """The largest loss, in the metric's own unit, where the baseline has this value."""
        return self.margin if self.margin is not None else (1 - (self.recovery or 0.0)) * abs(base)

    def verdict(self, difference: Bounds, recovery: Bounds | None) -> Verdict:
        """Args:
        difference: interval of variant minus base, turned so that more is better.
        recovery: interval of the share that is kept; None where none can be given.
        """
        if self.margin is not None:
            return verdict(*difference, self.margin)
        return verdict(recovery[0] - 1, recovery[1] - 1, 1 - (self.recovery or 0.0)) if recovery else "inconclusive"


def verdict(low: float, high: float, margin: float) -> Verdict:
    """Non-inferiority: of an interval of a difference of which more is better."""
    return "pass" if low >= -margin else "fail" if high < -margin else "inconclusive"
