"""What `plan` says of accuracy: the smallest margin that the documents of every task can decide."""

from collections.abc import Mapping

from configs.accuracy import Task
from configs.base import UserError
from flows.planning import judgeable, prompts, stock_tasks
from flows.planning.plan import Plan
from flows.statistics.sample_size import documents_for, smallest_margin

FLIPS = (0.03, 0.08)
"""Shares of the answers that differ, assumed for an 8-bit and for a 4-bit form. Measured here, on a model of 135M: 1.2
and 3.7 % for INT8, 11.6 % for INT4 (tests/bench/README.md); larger models change less."""


def notes(plan: Plan, counted: Mapping[str, int]) -> list[str]:
    """A line for each task that is judged by a margin: what its documents decide, and what the margin would need.

    Args:
        counted: documents of tasks where they are known, by name.
    """
    experiment, lines = plan.experiment, []
    decision = experiment.decision.over(max(2, len(plan.tried) - 1))
    for task in experiment.accuracy.tasks:
        if task.recovery is not None or not _is_mean(task, plan.hardware.accelerator):
            continue
        percent = 100 * experiment.decision.constraints.max_accuracy_drop
        margin = (task.margin if task.margin is not None else percent) / 100
        documents = counted.get(task.name) or stock_tasks.DOCUMENTS.get(task.name)
        count = min(filter(None, (documents, task.limit)), default=None)
        lines.append(f"accuracy: {task.name}: {_note(count, margin, decision.confidence)}")
    flips = " or ".join(f"{100 * share:g}" for share in FLIPS)
    assumed = f"accuracy: assumed above: {flips} % of the answers differ, half of them for the better; power 80 %"
    return [*lines, assumed] if lines else []


def _note(documents: int | None, margin: float, confidence: float) -> str:
    needed = [documents_for(margin, share, confidence) for share in FLIPS]
    wanted = " or ".join(f"{count:,}" if count else "more than a million" for count in needed)
    if documents is None:
        return f"a margin of {margin:g} needs about {wanted} documents; their number is known once its data are here"
    least = [smallest_margin(documents, share, confidence) for share in FLIPS]
    shown = " or ".join(f"{value:.3f}" for value in least)
    statement = f"{documents:,} documents can show that a variant as good as the baseline stays within {shown}"
    if margin >= max(least):
        return f"{statement}; the margin is {margin:g}"
    hardly = "hardly be met" if margin < min(least) else "be met by an 8-bit form only"
    return f"WARNING: {statement}; the margin of {margin:g} can {hardly}, it needs about {wanted} documents"


def _is_mean(task: Task, accelerator: str) -> bool:
    """Whether a task is judged by a mean over documents; nothing is said of one that is refused elsewhere."""
    definitions = prompts.definitions(task, accelerator)
    try:
        return judgeable.judged_by(definitions, task, allow_code=True) == "mean"
    except UserError:
        return False
