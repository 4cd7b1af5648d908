"""What every stage of a run shares, and what is known of each variant so far."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ray

from flows.checkpoints import Damaged
from flows.plan import Plan, VariantPlan
from flows.progress import Progress
from flows.records import Record, Store


class StepFailed(Exception):
    """A step that could not be finished; the message is its reason."""


@dataclass
class Outcome:
    """What is known of one variant: the records of its steps, or why there will be no more."""

    plan: VariantPlan
    checkpoint: Record | None = None
    evaluations: list[Record | None] = field(default_factory=list)
    """As in the plan: the evaluation, and the base's control."""
    benchmarks: list[Record | None] = field(default_factory=list)
    """One for each repeat of the load."""
    failure: str | None = None

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def complete(self) -> bool:
        return None not in (self.checkpoint, *self.evaluations, *self.benchmarks)

    @property
    def evaluation(self) -> Record | None:
        return self.evaluations[0]

    @property
    def control(self) -> Record | None:
        """The same evaluation in batches of another size; of the base alone."""
        return self.evaluations[1] if len(self.evaluations) > 1 else None

    @property
    def checkpoint_folder(self) -> Path:
        """Where the weights lie: beside the record, or where the user or the hub keeps them."""
        if self.checkpoint is None:
            raise StepFailed(f"{self.name} has no checkpoint")
        return Path(self.checkpoint.result.get("folder") or self.checkpoint.folder / "checkpoint")


@dataclass
class Run:
    """One run of an experiment."""

    plan: Plan
    store: Store
    progress: Progress
    logs: Path
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, store: Store, progress: Progress, logs: Path) -> "Run":
        """A run that already knows the records of earlier ones."""
        run = cls(plan, store, progress, logs)
        for variant in plan.variants:
            run.outcomes[variant.name] = Outcome(
                plan=variant,
                checkpoint=store.find(variant.checkpoint),
                evaluations=[store.find(step) for step in variant.evaluations],
                benchmarks=[store.find(step) for step in variant.benchmarks],
                failure=f"left out: {variant.left_out}" if variant.left_out else None,
            )
        return run

    @property
    def live(self) -> list[Outcome]:
        """Variants that are neither left out nor failed."""
        return [outcome for outcome in self.outcomes.values() if outcome.failure is None]

    def fail(self, outcome: Outcome, reason: object) -> None:
        """Take a variant out of the run; the others go on."""
        outcome.failure = " ".join(str(reason).split())[:500]
        self.progress.say(outcome.name, f"FAILED: {outcome.failure}")


@contextlib.contextmanager
def failing_alone(run: Run, outcome: Outcome) -> Iterator[None]:
    """What goes wrong inside the block takes this variant out of the run, and no other."""
    try:
        yield
    except (ray.exceptions.RayError, StepFailed, Damaged, OSError) as error:
        run.fail(outcome, _reason(error))


def _reason(error: Exception) -> str:
    """The actor's own error, without the traceback that Ray wraps around it."""
    if isinstance(error, StepFailed | Damaged):
        return str(error)
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {cause}"
