"""A look at the repeats of a load: whether they are enough, as a record of its own."""

from flows.analysis import looks
from flows.runtime.context import Run, Services
from flows.runtime.outcome import Outcome
from flows.store.records import Draft
from flows.store.results import LookResult


def look_at(run: Run, outcome: Outcome, services: Services) -> None:
    """Fill in every look of a variant whose repeats are there."""
    for index in outcome.open_looks:
        look = outcome.plan.looks[index]
        assert look.step is not None, "the last is not open"

        def see(draft: Draft[LookResult], workload: str = look.workload) -> None:
            enough, why = looks.enough(run.evidence_on(outcome), outcome, workload)
            draft.result = LookResult(enough, why)

        record = outcome.looks[index] = run.do_once(look.step, services, see)
        words = "enough repeats" if record.result.enough else "more repeats"
        run.progress.say(outcome.name, f"{words}: {record.result.why}")
