"""Deploy the variant that was decided for, as it was measured, and verify what answers then."""

import socket
import time
from dataclasses import asdict
from typing import Any

from rich.console import Console

from flows import card, tracking, verify
from flows.chosen import Chosen, check_files
from flows.context import StepFailed
from flows.kserve import KServeText
from flows.local_vllm import LocalVllm
from flows.records import DEPLOYMENT
from flows.target import Target, Text

TARGETS: dict[str, Target] = {target.kind: target for target in (LocalVllm(),)}
TEXTS: dict[str, Text] = {**TARGETS, KServeText.kind: KServeText()}


def deploy(chosen: Chosen, target: Target, console: Console) -> bool:
    """Start a variant and verify it; whether it is up then. One that fails its verification is ended.

    Raises:
        UserError: its checkpoint is not the one that was measured, or the target cannot take it.
    """
    run = chosen.run
    check_files(chosen)
    run.progress.say(chosen.variant, f"checkpoint as recorded; deploying to {target.kind} ...")
    try:
        deployed = target.start(chosen)
    except StepFailed as failure:
        console.print(f"not deployed: {failure}", markup=False, highlight=False, soft_wrap=True)
        return False
    try:
        run.progress.say(chosen.variant, f"healthy at {deployed.url}; verifying ...")
        found = verified(deployed.url, chosen, console)
    except BaseException:
        target.end(deployed)
        raise
    if not found.passed:
        done = target.end(deployed)
        console.print(f"rolled back, {done}: {found.failures}", markup=False, highlight=False, soft_wrap=True)
        return False
    written: dict[str, Any] = {**asdict(deployed), "host": socket.gethostname(), "at": time.time()}
    run.store.keep(run.plan.experiment.name, DEPLOYMENT, written)
    model_card = card.write(chosen, deployed)
    if version := tracking.register(chosen):
        run.progress.say("mlflow", f"registered {version}")
    for key, value in {
        "deployed": f"{deployed.variant} at {deployed.url}/v1, model {deployed.model}, pid {deployed.process}",
        "stop": deployed.stop,
        "log": deployed.log,
        "card": str(model_card),
    }.items():
        console.print(f"{key:<9} {value}", markup=False, highlight=False, soft_wrap=True)
    return True


def verified(url: str, chosen: Chosen, console: Console) -> verify.Verification:
    """Verify what answers at an address; on the terminal, in the store and in MLflow."""
    found = verify.verify(url, chosen)
    name = verify.file_name(chosen.variant)
    chosen.run.store.keep(chosen.run.plan.experiment.name, name, found.to_json())
    tracking.verified(chosen.run, found, name)
    verify.show(found, console)
    return found
