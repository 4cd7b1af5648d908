"""What is known of the variants of an experiment: the records of their steps."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actors.artifacts import Checkpoint, Evaluation
from configs.experiment import Experiment
from configs.hardware import Hardware
from flows.planning.variant_plan import VariantPlan
from flows.runtime.errors import StepFailed
from flows.store.checkpoints import CHECKPOINT
from flows.store.records import Record, Store
from flows.store.results import Benchmark, LookResult


@dataclass
class Outcome:
    """What is known of one variant: the records of its steps, or why there will be no more."""

    plan: VariantPlan
    checkpoint: Record[Checkpoint] | None = None
    proxy: Record[Evaluation] | None = None
    """A short text before all else, where variants race."""
    evaluations: list[Record[Evaluation] | None] = field(default_factory=list)
    """One for each slice of the documents."""
    control: Record[Evaluation] | None = None
    """The evaluation again, in batches of another size; of the baseline alone."""
    benchmarks: list[Record[Benchmark] | None] = field(default_factory=list)
    """One for each repeat of every load, at the most; None also for those that are no longer due."""
    looks: list[Record[LookResult] | None] = field(default_factory=list)
    """Of every look, whether the repeats are enough; None for the last, which has no step."""
    failure: str | None = None

    @classmethod
    def of(cls, plan: VariantPlan, store: Store) -> "Outcome":
        """What the store has of a variant."""
        outcome = cls(
            plan=plan,
            checkpoint=store.find(plan.checkpoint),
            benchmarks=[store.find(step) for step in plan.benchmarks],
            looks=[store.find(look.step) if look.step else None for look in plan.looks],
            failure=f"left out: {plan.left_out}" if plan.left_out else None,
        )
        outcome.find_evaluations(store)
        due = set(outcome.due)
        outcome.benchmarks = [record if index in due else None for index, record in enumerate(outcome.benchmarks)]
        return outcome

    def find_evaluations(self, store: Store) -> None:
        """Those that the store has by now: another variant may have done what both share."""
        self.proxy = store.find(self.plan.proxy) if self.plan.proxy else None
        self.evaluations = [store.find(step) for step in self.plan.evaluations]
        self.control = store.find(self.plan.control) if self.plan.control else None

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def evaluated(self) -> bool:
        """Whether all that is to be answered was."""
        return self.evaluated_on(range(len(self.evaluations)))

    def evaluated_on(self, slices: Sequence[int]) -> bool:
        """Whether every document of some slices was answered; with the last of all, also as the control."""
        with_control = self.plan.control is not None and len(self.evaluations) - 1 in slices
        answered = all(self.evaluations[index] is not None for index in slices)
        return answered and not (with_control and self.control is None)

    @property
    def due(self) -> list[int]:
        """Indices of the benchmarks to be made, as far as the records say: of every load until a look says that they
        are enough, or until the next look."""
        due: list[int] = []
        over: set[str] = set()
        for look, record in zip(self.plan.looks, self.looks, strict=True):
            if look.workload not in over:
                due += look.places
                if not self._has(look.places) or (look.step and (record is None or record.result.enough)):
                    over.add(look.workload)
        return due

    @property
    def open_looks(self) -> list[int]:
        """Indices of the looks whose repeats are all there, and that nobody has taken yet."""
        due = set(self.due)
        return [
            index
            for index, (look, record) in enumerate(zip(self.plan.looks, self.looks, strict=True))
            if look.step and record is None and due.issuperset(look.places) and self._has(look.places)
        ]

    def _has(self, indices: Sequence[int]) -> bool:
        return all(self.benchmarks[index] is not None for index in indices)

    @property
    def benchmarked(self) -> bool:
        """Whether every repeat that is due was made, and no look has to say whether they are enough."""
        return self._has(self.due) and not self.open_looks

    @property
    def screened(self) -> bool:
        """Whether enough was made to stop it by its load: all that is due, or where variants race the first part."""
        return self.benchmarked or bool(self.plan.first_loads and self._has(sorted(self.plan.first_loads)))

    @property
    def complete(self) -> bool:
        return self.checkpoint is not None and self.evaluated and self.benchmarked

    @property
    def missing(self) -> str:
        """What is not measured yet, in words; empty where all is."""
        answers = [*self.evaluations, *([self.control] if self.plan.control else [])]
        counted = [
            f"{records.count(None)} of {len(records)} {what}"
            for what, records in (("evaluations", answers), ("loads", [self.benchmarks[index] for index in self.due]))
            if None in records
        ]
        return ", ".join(counted if self.checkpoint else ["its checkpoint", *counted])

    @contextlib.contextmanager
    def checkpoint_on(self, node: str | None) -> Iterator[Path]:
        """A folder with the weights on a node, for the length of the block: beside the record, or where the user or
        the hub keeps them.

        Args:
            node: its id; None for this machine.
        """
        if self.checkpoint is None:
            raise StepFailed(f"{self.name} has no checkpoint")
        if own := self.checkpoint.result.folder:
            yield Path(own)
            return
        files = self.checkpoint.files
        with files.held() if node is None else files.held_on(node) as folder:
            yield folder / CHECKPOINT


@dataclass(frozen=True)
class Evidence:
    """All that a judgement rests on: what is known of every variant by now, and by what settings it is judged."""

    experiment: Experiment
    hardware: Hardware
    baseline: Outcome
    variants: Mapping[str, Outcome]
    """Of the whole experiment by name, the baseline among them."""
    search_goes_on: bool
    """Whether there is a search, and it has more to suggest."""

    @property
    def compared(self) -> int:
        """How many variants are compared with the baseline: also those that a race stopped or that are still to be
        measured, as who is left depends on the results. Who failed says nothing."""
        return sum(name != self.baseline.name and not outcome.failure for name, outcome in self.variants.items())
