"""The base checkpoint, and from it every compressed one, each by a quantizer of its own."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from actors.artifacts import Checkpoint, Made
from actors.placement.allocation import Slot
from actors.placement.coordinator import away_after
from actors.placement.lease import Needs, lease
from actors.quantizer import Quantizer
from flows.runtime.context import Run, Services, answer
from flows.runtime.errors import StepFailed
from flows.runtime.faults import fault
from flows.runtime.outcome import Outcome
from flows.stages.inputs import unchanged
from flows.store import checkpoints, likeness
from flows.store.checkpoints import CHECKPOINT
from flows.store.records import Draft


def make_checkpoint(run: Run, outcome: Outcome, services: Services) -> None:
    """Fill in the checkpoint record of a variant: the base model's, or a compressed form of it."""
    work = _quantize if outcome.plan.scheme else _prepare

    def make(draft: Draft[Checkpoint]) -> None:
        next_ = outcome.plan.scheme is not None
        sizes = (run.plan.slots.taken_by(_gpus(run)),)
        with run.holding_slots(outcome, services, to_be_measured=False, to_be_measured_next=next_, sizes=sizes) as slot:
            run.progress.say(outcome.name, f"{step.kind} ...")
            with unchanged(step, slot.host):
                work(run, outcome, services, draft, slot)

    step = outcome.plan.checkpoint
    if outcome.checkpoint is None:
        outcome.checkpoint = run.do_once(step, services, make)
        size = outcome.checkpoint.result.weight_bytes / 1e6
        run.progress.say(outcome.name, f"{step.kind} done in {outcome.checkpoint.seconds:.0f} s, {size:.0f} MB")


def prepare_base(run: Run, services: Services) -> None:
    """Make the base checkpoint, which all others are made from, and that of the baseline, which all are benchmarked in
    turn with; where one cannot be made, nobody goes on.

    Raises:
        UserError: now that the base model's shapes are known, a scheme does not fit them.
    """
    if not _made(run, run.base, "base model", services):
        return
    experiment, hardware = run.plan.experiment, run.plan.hardware
    node = next(iter(services.benchmarkers)).host
    with run.base.checkpoint_on(node) as folder:
        tensors = run.store.near(node, checkpoints.tensors, folder)
    for field, scheme in experiment.candidates.schemes_by_path:
        resolved = scheme.resolved_for(hardware)
        if not resolved.cannot_be_served_on(hardware):
            checkpoints.check_divides(tensors, resolved, field)
    _made(run, run.baseline, "baseline", services)


def _made(run: Run, outcome: Outcome, what: str, services: Services) -> bool:
    """Whether a checkpoint is there now that all variants need."""
    try:
        with away_after(services.coordinator):  # it is measured by a trial of its own
            make_checkpoint(run, outcome, services)
    except Exception as error:
        outcome.failure = str(fault(error))
        for other in run.outcomes.values():
            other.failure = other.failure or f"the {what} is missing: {outcome.failure}"
    return outcome.failure is None


def _needs(run: Run, slot: Slot) -> Needs:
    """What one quantizer holds: its GPUs, or the cores of its slot."""
    quantizing, hardware, slots = run.plan.experiment.quantizing, run.plan.hardware, run.plan.slots
    cores = quantizing.cores or len(slots.engines[slot.index]) or max(1, hardware.cores // len(slots.engines))
    return Needs(cores=cores, gpus=_gpus(run), variables={"OMP_NUM_THREADS": str(cores)})


def _gpus(run: Run) -> float:
    """GPUs of one quantizer."""
    experiment = run.plan.experiment
    return 0.0 if run.plan.hardware.on_cpu else experiment.quantizing.gpus or min(1.0, experiment.serving.gpus)


def _prepare(run: Run, outcome: Outcome, _: Services, draft: Draft[Checkpoint], slot: Slot) -> None:
    orders = outcome.plan.checkpoint.orders
    with draft.on(slot.host) as work, lease(Quantizer, _needs(run, slot), node=slot.host) as quantizer:
        destination = work / CHECKPOINT
        ref: Any = quantizer.prepare.remote(orders["model"], str(destination), orders["dtype"])
        made: Made = answer(ref, run.plan.experiment.longest_step_s)
        if made.folder and orders["model"]["kind"] == "hub" and not run.store.is_shared:
            # Into the store, too: the hub's cache is that of one node.
            run.store.near(slot.host, checkpoints.link, Path(made.folder), destination)
            made = replace(made, folder=None)
        folder = Path(made.folder or destination)
        draft.result = run.store.near(slot.host, checkpoints.described, folder, made, compressed=False)
        if outcome is not run.base:
            _check_likeness(run, outcome, slot, folder)


def _check_likeness(run: Run, outcome: Outcome, slot: Slot, folder: Path) -> None:
    """Raise StepFailed if a checkpoint belongs to another model than the base, and the experiment does not say so."""
    with run.base.checkpoint_on(slot.host) as base:
        different = run.store.near(slot.host, likeness.unlike, base, folder)
    if not different:
        return
    if not outcome.plan.checkpoint.orders["another_model"]:
        raise StepFailed(likeness.refusal(different, run.plan.experiment.yaml_path(outcome.name)))
    run.progress.say(outcome.name, likeness.in_words(different))


def _quantize(run: Run, outcome: Outcome, services: Services, draft: Draft[Checkpoint], slot: Slot) -> None:
    orders = outcome.plan.checkpoint.orders
    calibration = deepcopy(orders["calibration"])
    if calibration and services.calibration_commit:
        calibration["source"]["revision"] = services.calibration_commit
    log = run.logs / f"quantize-{outcome.name}-{outcome.plan.checkpoint.fingerprint}.log"
    with (
        draft.on(slot.host) as work,
        run.base.checkpoint_on(slot.host) as base,
        lease(Quantizer, _needs(run, slot), node=slot.host) as quantizer,
    ):
        ref: Any = quantizer.quantize.remote(
            str(base),
            str(work / CHECKPOINT),
            recipe=orders["recipe"],
            calibration=calibration,
            dtype=orders["dtype"],
            declared_weight_bits=orders["declared_weight_bits"],
            log=str(log),
        )
        made: Made = answer(ref, run.plan.experiment.longest_step_s)
        draft.result = run.store.near(slot.host, checkpoints.described, work / CHECKPOINT, made, compressed=True)
