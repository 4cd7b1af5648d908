"""What every stage of a run shares, and what is known of each variant so far."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import ObjectRef
from ray.actor import ActorHandle

from actors.artifacts import Checkpoint, Evaluation
from actors.placement.allocation import Slot
from actors.placement.coordinator import Occupant, claimed, holding_slots
from configs.schemes import Scheme
from flows.planning.plan import Plan, VariantPlan, extended
from flows.runtime.progress import Says
from flows.store.checkpoints import CHECKPOINT
from flows.store.records import Draft, Record, Store
from flows.store.results import Benchmark, LookResult, R
from flows.store.steps import Step


class StepFailed(Exception):
    """A step that could not be finished; the message is its reason."""


class TimedOut(StepFailed):
    """A step that came to no result in its time, and may do so another time."""


def answer(ref: ObjectRef[Any], within_s: float) -> Any:
    """What an actor answers. An engine can get stuck, and a night must not end there.

    Raises:
        TimedOut: it has not answered yet; it still works, or does not.
    """
    try:
        return ray.get(ref, timeout=within_s)
    except ray.exceptions.GetTimeoutError:
        raise TimedOut(f"its engine did not answer within {within_s:.0f} s") from None


class EarlyStopped(Exception):
    """A variant that can no longer win; what is known of it stays."""


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
    """The evaluation again, in batches of another size; of the base alone."""
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
            proxy=store.find(plan.proxy) if plan.proxy else None,
            evaluations=[store.find(step) for step in plan.evaluations],
            control=store.find(plan.control) if plan.control else None,
            benchmarks=[store.find(step) for step in plan.benchmarks],
            looks=[store.find(look.step) if look.step else None for look in plan.looks],
            failure=f"left out: {plan.left_out}" if plan.left_out else None,
        )
        due = set(outcome.due)
        outcome.benchmarks = [record if index in due else None for index, record in enumerate(outcome.benchmarks)]
        return outcome

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
class Services:
    """The actors that all variants of a run share."""

    coordinator: Any
    server: ActorHandle[Any]
    benchmarkers: Mapping[Slot, ActorHandle[Any]]
    """By slot; slots of a host whose engines are loaded one by one share theirs."""
    key: str = field(repr=False)
    """What every engine of the run asks for: made up by it, and kept in memory and in their environment alone."""
    calibration_commit: str | None = None
    """Of a calibration set from the hub, the same for all variants; None where it has none, or nobody tells."""


@dataclass
class Run:
    """One run of an experiment."""

    plan: Plan
    store: Store
    progress: Says
    logs: Path
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    not_tracked: str | None = None
    """Why MLflow does not have all of it; None where it has."""

    @classmethod
    def of(cls, plan: Plan, store: Store, progress: Says, logs: Path) -> "Run":
        """A run that already knows the records of earlier ones."""
        outcomes = {variant.name: Outcome.of(variant, store) for variant in plan.variants}
        return cls(plan, store, progress, logs, outcomes)

    @property
    def base(self) -> Outcome:
        return self.outcomes[self.plan.base.name]

    def look_again(self) -> None:
        """What the records say of everybody by now."""
        self.outcomes = {name: Outcome.of(outcome.plan, self.store) for name, outcome in self.outcomes.items()}

    def add(self, scheme: Scheme) -> None:
        """One more variant, which a search came upon."""
        self.plan = extended(self.plan, [scheme])
        for variant in self.plan.variants:
            if variant.name not in self.outcomes:
                self.outcomes[variant.name] = Outcome.of(variant, self.store)

    def holding_slots(
        self,
        outcome: Outcome,
        services: Services,
        *,
        to_be_measured: bool,
        to_be_measured_next: bool = False,
        slots: int = 1,
    ) -> contextlib.AbstractContextManager[Slot]:
        """A slot for a variant, or two (`actors.placement.coordinator.holding_slots`); for whom it waits is said."""
        mine = self.plan.experiment.name

        def waits(occupants: list[Occupant]) -> None:
            names = [variant if of == mine else f"{variant} of {of}" for of, variant in occupants]
            self.progress.say(
                outcome.name, f"waiting for a free device slot (in use by: {', '.join(names) or 'nobody'}) ..."
            )

        return holding_slots(
            services.coordinator,
            (mine, outcome.name),
            waits,
            to_be_measured=to_be_measured,
            to_be_measured_next=to_be_measured_next,
            slots=slots,
        )

    def do_once(self, step: Step[R], services: Services, work: Callable[[Draft[R]], None]) -> Record[R]:
        """The record of a step; where there is none, it is done here, or waited for where another experiment
        is doing it."""
        records = self.do_all([step], services, lambda drafts: work(drafts[step.fingerprint]))
        return records[step.fingerprint]

    def do_all(
        self, steps: Sequence[Step[R]], services: Services, work: Callable[[dict[str, Draft[R]]], None]
    ) -> dict[str, Record[R]]:
        """The same of steps that are done in one go; records by fingerprint.

        Args:
            work: is given the drafts of those without a record, by fingerprint.
        """
        once = sorted({step.fingerprint: step for step in steps}.items())
        with contextlib.ExitStack() as claims:
            for fingerprint, step in once:
                claims.enter_context(claimed(services.coordinator, f"{self.store.root}/{step.kind}/{fingerprint}"))
            if missing := self.store.missing(step for _, step in once):
                with contextlib.ExitStack() as writing:
                    drafts = {step.fingerprint: writing.enter_context(self.store.writing(step)) for step in missing}
                    for draft in drafts.values():
                        draft.where = {"hardware": self.plan.hardware.name}
                    work(drafts)
            records = {}
            for fingerprint, step in once:
                if (record := self.store.find(step)) is None:
                    raise StepFailed(f"{step.kind}: its record vanished as soon as it was written")
                records[fingerprint] = record
        return records

    def application(self, variant: str) -> str:
        """The name of a variant's Serve application, and of the model that it serves. An experiment of the same name in
        another store has others: what somebody who died left under a name is ended by it."""
        whose = hashlib.sha256(str(self.store.root).encode()).hexdigest()[:6]
        return f"{self.plan.experiment.name}.{whose}.{variant}"
