"""What every stage of a run shares."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import ObjectRef
from ray.actor import ActorHandle

from actors.placement.allocation import Slot
from actors.placement.coordinator import Occupant, claimed, holding_slots
from configs.variants import Variant
from flows.planning.plan import Plan, extended
from flows.runtime import search_state
from flows.runtime.errors import StepFailed, TimedOut
from flows.runtime.outcome import Evidence, Outcome
from flows.runtime.progress import Says
from flows.store.records import Draft, Record, Store
from flows.store.results import R
from flows.store.steps import Step


def answer(ref: ObjectRef[Any], within_s: float) -> Any:
    """What an actor answers. An engine can get stuck, and a night must not end there.

    Raises:
        TimedOut: it has not answered yet; it still works, or does not.
    """
    try:
        return ray.get(ref, timeout=within_s)
    except ray.exceptions.GetTimeoutError:
        raise TimedOut(f"its engine did not answer within {within_s:.0f} s") from None


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
    def baseline(self) -> Outcome:
        """Of the variant that all others are compared with."""
        return self.outcomes[self.plan.baseline.name]

    @property
    def base(self) -> Outcome:
        """Of the base model."""
        return self.outcomes[self.plan.base.name]

    @property
    def evidence(self) -> Evidence:
        """What it can be judged by now."""
        searching = search_state.goes_on(self.plan, self.store)
        return Evidence(self.plan.experiment, self.plan.hardware, self.baseline, dict(self.outcomes), searching)

    def evidence_on(self, outcome: Outcome) -> Evidence:
        """The same where this variant is at work here and the baseline, maybe, elsewhere."""
        if outcome is not self.baseline:
            self.look_again(self.baseline.name)
        return self.evidence

    def look_again(self, *names: str) -> None:
        """What the records say of some variants by now; of all where none is named."""
        for name in names or tuple(self.outcomes):
            self.outcomes[name] = Outcome.of(self.outcomes[name].plan, self.store)

    def add(self, variant: Variant) -> None:
        """One more variant, which a search came upon."""
        self.plan = extended(self.plan, [variant])
        for planned in self.plan.variants:
            if planned.name not in self.outcomes:
                self.outcomes[planned.name] = Outcome.of(planned, self.store)

    def holding_slots(
        self,
        outcome: Outcome,
        services: Services,
        *,
        to_be_measured: bool,
        to_be_measured_next: bool = False,
        sizes: tuple[int, ...] = (1,),
    ) -> contextlib.AbstractContextManager[Slot]:
        """A place for each engine (`actors.placement.coordinator.holding_slots`); for whom a variant waits is said."""
        mine = self.plan.experiment.name

        def waits(occupants: list[Occupant]) -> None:
            names = [variant if of == mine else f"{variant} of {of}" for of, variant in occupants]
            self.progress.say(
                outcome.name, f"waiting for a free device slot (in use by: {', '.join(names) or 'no variant'}) ..."
            )

        return holding_slots(
            services.coordinator,
            (mine, outcome.name),
            waits,
            to_be_measured=to_be_measured,
            to_be_measured_next=to_be_measured_next,
            sizes=sizes,
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
