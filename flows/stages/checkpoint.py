"""The base checkpoint, and from it every compressed one, each by a quantizer of its own."""

from pathlib import Path
from typing import Any

from actors.placement.allocation import Place
from actors.placement.lease import Needs, lease
from actors.quantizer import Quantizer
from configs.model import HubModel, PathModel
from flows.runtime.context import Outcome, Run, Services, StepFailed, answer
from flows.runtime.faults import fault
from flows.store import checkpoints
from flows.store.checkpoints import CHECKPOINT
from flows.store.records import Draft


def make_checkpoint(run: Run, outcome: Outcome, services: Services) -> None:
    """Fill in the checkpoint record of a variant: the base model's, or a compressed form of it."""
    work = _quantize if outcome.plan.scheme else _prepare

    def make(draft: Draft) -> None:
        next_ = outcome.plan.scheme is not None
        with run.seated(outcome, services, to_be_measured=False, to_be_measured_next=next_) as place:
            run.progress.say(outcome.name, f"{step.kind} ...")
            work(run, outcome, services, draft, place)

    step = outcome.plan.checkpoint
    if outcome.checkpoint is None:
        outcome.checkpoint = run.do_once(step, services, make)
        size = outcome.checkpoint.result["weight_bytes"] / 1e6
        run.progress.say(outcome.name, f"{step.kind} done in {outcome.checkpoint.seconds:.0f} s, {size:.0f} MB")


def prepare_base(run: Run, services: Services) -> None:
    """Make the base checkpoint, which all others are made from.

    Raises:
        UserError: now that its shapes are known, a scheme does not fit them.
    """
    base = run.base
    try:
        make_checkpoint(run, base, services)
    except Exception as error:
        base.failure = str(fault(error))
        for outcome in run.outcomes.values():
            outcome.failure = outcome.failure or f"the base model is missing: {base.failure}"
        return
    experiment, hardware = run.plan.experiment, run.plan.hardware
    node = next(iter(services.benchmarkers)).host
    with base.checkpoint_on(node) as folder:
        tensors = run.store.near(node, checkpoints.tensors, folder)
    for position, asked in enumerate(experiment.possible):
        scheme = asked.resolved_for(hardware)
        if not scheme.cannot_be_served_on(hardware):
            checkpoints.check_divides(tensors, scheme, experiment.place(position))


def _needs(run: Run, place: Place) -> Needs:
    """What one quantizer holds: the GPUs or the cores of its seat."""
    quantizing, hardware, seats = run.plan.experiment.quantizing, run.plan.hardware, run.plan.seats
    cores = quantizing.cores or len(seats.engines[place.seat]) or max(1, hardware.cores // len(seats.engines))
    gpus = 0 if hardware.on_cpu else quantizing.gpus or min(1.0, run.plan.experiment.serving.gpus)
    return Needs(cores=cores, gpus=gpus, variables={"OMP_NUM_THREADS": str(cores)})


def _prepare(run: Run, outcome: Outcome, _: Services, draft: Draft, place: Place) -> None:
    model, dtype = run.plan.experiment.model, run.plan.compute_dtype
    with draft.on(place.host) as work, lease(Quantizer, _needs(run, place), node=place.host) as quantizer:
        destination = work / CHECKPOINT
        made: Any
        if isinstance(model, PathModel):
            made = quantizer.prepare_path.remote(str(model.path), dtype)
        elif isinstance(model, HubModel):
            made = quantizer.prepare_hub.remote(model.repository, model.revision, dtype)
        else:
            made = quantizer.prepare_wheel.remote(model.package, str(destination), dtype)
        draft.result = answer(made, run.plan.experiment.longest_step_s)
        if isinstance(model, PathModel):
            draft.result["folder"] = str(model.path)
        if isinstance(model, HubModel) and not run.store.is_shared:
            # Into the store, too: the hub's cache is that of one node.
            run.store.near(place.host, checkpoints.link, Path(draft.result.pop("folder")), destination)
        folder = Path(draft.result.get("folder", destination))
        draft.result |= run.store.near(place.host, checkpoints.described, folder, compressed=False)


def _quantize(run: Run, outcome: Outcome, services: Services, draft: Draft, place: Place) -> None:
    experiment, scheme = run.plan.experiment, outcome.plan.scheme
    if scheme is None:
        raise StepFailed("the base model is not compressed")
    calibration = None
    if scheme.needs_calibration and experiment.calibration:
        calibration = experiment.calibration.for_scheme(scheme).model_dump(mode="json")
        if services.calibration_commit:
            calibration["source"]["revision"] = services.calibration_commit
    log = run.logs / f"quantize-{outcome.name}-{outcome.plan.checkpoint.fingerprint}.log"
    with (
        draft.on(place.host) as work,
        run.base.checkpoint_on(place.host) as base,
        lease(Quantizer, _needs(run, place), node=place.host) as quantizer,
    ):
        made: Any = quantizer.quantize.remote(
            str(base),
            str(work / CHECKPOINT),
            recipe=scheme.recipe(),
            calibration=calibration,
            dtype=outcome.plan.checkpoint.settings["dtype"],
            declared_weight_bits=scheme.declared_weight_bits,
            log=str(log),
        )
        draft.result = answer(made, experiment.longest_step_s)
        draft.result |= run.store.near(place.host, checkpoints.described, work / CHECKPOINT, compressed=True)
