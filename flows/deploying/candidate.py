"""Which variant is deployed or verified, and all that was measured of it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from actors.artifacts import Checkpoint
from actors.files.digests import Damaged
from actors.programs import vllm_server
from configs.base import UserError
from configs.decision import Objective
from configs.load import Load
from flows.analysis import compare, performance, reference_gap
from flows.analysis.energy import JOULES
from flows.analysis.judgement import Judged, Judgement, Point
from flows.runtime.context import Run
from flows.runtime.outcome import Outcome
from flows.store import checkpoints, likeness
from flows.store.checkpoints import CHECKPOINT
from flows.store.records import Record
from flows.store.results import Benchmark


@dataclass(frozen=True)
class Candidate:
    """A variant of an experiment that was measured in full, as it is planned now."""

    run: Run
    outcome: Outcome
    workload: str
    """The name of the load that it is verified under, the experiment's first."""
    judgement: Judgement
    """Of that load."""
    judged: Judged

    @property
    def variant(self) -> str:
        return self.outcome.name

    @property
    def compared(self) -> bool:
        """Whether it was compared with the baseline, and is not that itself."""
        return self.outcome is not self.run.baseline

    @property
    def model(self) -> str:
        """The name that requests give. A run calls its own servers otherwise, and ends no deployment."""
        return f"{self.run.plan.experiment.name}-{self.variant}"

    @property
    def checkpoint(self) -> Record[Checkpoint]:
        assert self.outcome.checkpoint is not None, "it was measured"
        return self.outcome.checkpoint

    @property
    def benchmark(self) -> Record[Benchmark]:
        """The first repeat of its load, which says how far it was from its reference."""
        record = self.outcome.benchmarks[self.run.plan.experiment.benchmarks.index((self.workload, 0))]
        assert record is not None, "it was measured"
        return record

    @cached_property
    def _kept(self) -> tuple[Path, tuple[int, ...]]:
        return self.checkpoint.files.kept()

    @property
    def folder(self) -> Path:
        """The checkpoint's, on this machine, as long as this process lives."""
        own = self.checkpoint.result.folder
        return Path(own) if own else self._kept[0] / CHECKPOINT

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Whoever is passed them keeps the folder, too."""
        return () if self.checkpoint.result.folder else self._kept[1]

    @property
    def path_in_store(self) -> str | None:
        """The checkpoint's folder under the store's root; None where it lies elsewhere."""
        return None if self.checkpoint.result.folder else f"{self.checkpoint.files.name}/{CHECKPOINT}"

    @property
    def engine(self) -> dict[str, Any]:
        """vLLM's engine arguments, those that were benchmarked."""
        return self.outcome.plan.engine_args

    @property
    def cores(self) -> tuple[int, ...]:
        """Cores of its compute threads, as benchmarked; empty with GPUs."""
        return self.run.plan.slots.engines[0]

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of its engine, as benchmarked."""
        return vllm_server.variables(self.cores, self.outcome.plan.serving.kv_cache_gib)

    @property
    def reference_limit(self) -> float:
        """Nats a token that it may be from its reference."""
        rounds = likeness.rounds_activations(self.folder)
        return reference_gap.limit(self.outcome.plan, rounds_activations=rounds)

    @property
    def load(self) -> Load:
        return self.run.plan.experiment.loads[self.workload]

    @property
    def point(self) -> Point:
        """The load that its decision rests on."""
        return point_of(self.judged, self.run.plan.experiment.decision.objective)


def choose(run: Run, variant: str | None) -> Candidate:
    """The variant of that name, or the one that the decision recommends.

    Raises:
        UserError: there is none, it was not measured in full, or the experiment has changed since.
    """
    name, experiment = variant, run.plan.experiment
    again = f"start `python -m flows run` on {experiment.name} first"
    judgement = _decision(run, again)
    part = next(iter(judgement.parts.values()))
    if name is None and judgement.recommended is None:
        measured = ", ".join(judged.name for judged in part.judged)
        raise UserError(
            f"nothing is recommended: {judgement.sentence.rstrip('.')}; choose a variant with --variant NAME "
            f"(measured: {measured or 'none'})"
        )
    name = name or judgement.recommended or ""
    if name not in run.outcomes:
        raise UserError(f"--variant {name}: not in the experiment; its variants: {', '.join(run.outcomes)}")
    return _measured(run, name, judgement, again)


def again_as_recorded(run: Run, variant: str) -> Candidate:
    """A variant that was deployed before, by an experiment as it was then: judged again from its records, whatever
    the experiment's latest decision is about.

    Raises:
        UserError: its records are not there any more, or the machines are others.
    """
    judgement = compare.judge(run.evidence)
    return _measured(run, variant, judgement, "deploy the current decision, without --rollback")


def _measured(run: Run, name: str, judgement: Judgement, again: str) -> Candidate:
    """A variant by its name, with what was measured of it under the first load."""
    workload, part = next(iter(judgement.parts.items()))
    judged = next((judged_variant for judged_variant in part.judged if judged_variant.name == name), None)
    if judged is None:
        why = judgement.reasons.get(name, "it is in no decision")
        raise UserError(f"--variant {name}: was not measured in full ({why.rstrip('.')}); {again}")
    outcome = run.outcomes[name]
    planned = {step.fingerprint for step in outcome.plan.steps}
    if not outcome.complete or not set(judged.evidence.values()) <= planned:
        raise UserError(f"{name}: the measured settings differ from the experiment's current ones; {again}")
    return Candidate(run, outcome, workload, part, judged)


def _decision(run: Run, again: str) -> Judgement:
    name, file = run.plan.experiment.name, "decision.json"
    where = f"{run.store.root}/experiments/{name}/{file}"
    try:
        if (kept := run.store.kept(name, file)) is None:
            raise UserError(f"{where}: no decision yet; {again}")
        return TypeAdapter(Judgement).validate_python(kept)
    except (ValueError, ValidationError):
        raise UserError(f"{where}: not a decision of this version; `python -m flows report` rewrites it") from None


def check_files(candidate: Candidate) -> None:
    """Raise UserError unless the checkpoint in the store is, byte by byte, the one that was measured."""
    try:
        files, compressed = candidate.checkpoint.result.files, candidate.outcome.plan.scheme is not None
        checkpoints.check(candidate.folder, files, compressed=compressed)
    except Damaged as damage:
        raise UserError(
            f"{damage}; it is not the measured checkpoint: remove "
            f"{candidate.run.store.root}/{candidate.checkpoint.files.name} and run the experiment again"
        ) from None


def point_of(judged: Judged, objective: Objective) -> Point:
    """The load that an objective is taken at: the lightest for latencies, the capacity, that of the least energy, else
    the fastest that can be used. Where none can, one that counts, if there is one."""
    counted = [point for point in judged.points if point.counts] or judged.points
    if objective in ("ttft", "tpot"):
        return min(counted, key=lambda point: point.asked)
    if performance.by_grid(counted, objective) and judged.capacity and judged.capacity.asked is not None:
        return next(point for point in judged.points if point.asked == judged.capacity.asked)
    usable = [point for point in counted if point.usable] or counted
    if objective == "energy" and (told := [point for point in usable if JOULES in point.figures]):
        return min(told, key=lambda point: point.figures[JOULES].mean)
    return max(usable, key=lambda point: point.figures["output_tokens_per_second"].mean)
