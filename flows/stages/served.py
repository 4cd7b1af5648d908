"""An engine with a checkpoint: started, and compared with its reference before it is measured."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from actors import openai_client
from actors.artifacts import EngineReport, EngineSpec, ReferenceGap
from actors.placement.allocation import Slot
from actors.placement.lease import asked_on
from actors.programs import vllm_server
from actors.serving import LOOPBACK, Deployment, await_ready, deployed, mark_of
from flows.analysis import reference_gap
from flows.runtime.context import Run, Services, answer
from flows.runtime.errors import StepFailed
from flows.runtime.outcome import Outcome
from flows.store import checkpoints, likeness


@dataclass(frozen=True)
class Started:
    """An engine that is about to be up."""

    outcome: Outcome
    """Of the checkpoint in it."""
    slot: Slot
    deployment: Deployment
    folder: Path
    """The checkpoint's, on its node."""
    beside: str = ""
    """The variant that it is the baseline for; empty for a variant itself."""

    def say(self, run: Run, what: str) -> None:
        run.progress.say(self.beside or self.outcome.name, f"{'the baseline beside it: ' if self.beside else ''}{what}")


@dataclass(frozen=True, kw_only=True)
class Served(Started):
    """An engine that is up and says what its reference says."""

    url: str
    """Where it answers on its node, without /v1."""
    report: EngineReport
    difference: ReferenceGap


@contextlib.contextmanager
def serving(run: Run, outcome: Outcome, services: Services, slot: Slot, beside: str = "") -> Iterator[Started]:
    """An engine with a checkpoint for the length of the block.

    Args:
        beside: the variant that it is the baseline for.
    """
    settings, hardware = outcome.plan.serving, run.plan.hardware
    files = outcome.checkpoint.result.files if outcome.checkpoint else {}
    with outcome.checkpoint_on(slot.host) as folder:
        run.store.near(slot.host, checkpoints.check, folder, files, compressed=outcome.plan.scheme is not None)
        name = run.application(f"{beside}_{outcome.name}" if beside else outcome.name)
        cores = run.plan.slots.engines[slot.index]
        spec = EngineSpec(
            model=name,
            checkpoint=str(folder),
            arguments=outcome.plan.engine_args,
            lease=mark_of(name),
            variables=vllm_server.variables(cores, settings.kv_cache_gib),
            cores=len(cores),
            gpus=0 if hardware.on_cpu else settings.gpus,
            host=LOOPBACK,
            cache=str(run.plan.experiment.storage.compiled),
            start_timeout_s=settings.start_timeout_s,
            key=services.key,
        )
        with deployed(services.coordinator, services.server, spec, node=slot.host, cores=cores) as deployment:
            started = Started(outcome, slot, deployment, folder, beside)
            started.say(run, "starting its server ...")
            yield started


def bring_up(run: Run, services: Services, started: Started) -> Served:
    """Wait until an engine answers as its checkpoint's reference does."""
    url, report = await_ready(services.server, started.deployment, run.plan.experiment.serving.start_timeout_s)
    size = report.memory_bytes / 1e9
    started.say(run, f"serving after {report.seconds:.0f} s: {report.processes} processes, {size:.1f} GB")
    difference = _compare_with_reference(run, started, url)
    return Served(**vars(started), url=url, report=report, difference=difference)


def _compare_with_reference(run: Run, started: Started, url: str) -> ReferenceGap:
    """How far what is served is from its reference.

    Raises:
        StepFailed: too far for its scheme, so measuring it would measure a broken engine.
        TimedOut: the few short texts take it longer than a start may.
    """
    outcome, deployment = started.outcome, started.deployment
    rounds = run.store.near(started.slot.host, likeness.rounds_activations, started.folder)
    limit = reference_gap.limit(outcome.plan, rounds_activations=rounds)
    reference = outcome.checkpoint.result.reference if outcome.checkpoint else ()
    compared = (f"{url}/v1", deployment.model, reference, deployment.key)
    ref = asked_on(deployment.node, openai_client.compare_with_reference, *compared)
    began = time.monotonic()
    difference: ReferenceGap = answer(ref, run.plan.experiment.serving.start_timeout_s)
    seconds = time.monotonic() - began
    mean = difference.mean_logprob_difference
    started.say(run, f"differs from its reference by {mean:.3f} nats a token (limit {limit:.2f})")
    if wrong := reference_gap.wrong(difference, limit):
        raise StepFailed(wrong)
    return replace(difference, limit=limit, seconds=seconds)
