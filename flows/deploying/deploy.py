"""Deploy the variant that was decided for, as it was measured, and verify what answers then."""

import socket
import time
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from configs.base import UserError
from configs.experiment import Experiment
from configs.load import in_words
from flows.deploying import card, verify
from flows.deploying.candidate import Candidate, check_files
from flows.deploying.kserve import KServeText
from flows.deploying.kserve_cluster import KServeCluster
from flows.deploying.local_vllm import LocalVllm
from flows.deploying.ray_serve import RayServe
from flows.deploying.target import Deployed, ReplaceableTarget, Target, Text
from flows.runtime.errors import StepFailed
from flows.store.records import DEPLOYMENT, Store
from flows.tracking import registry
from flows.tracking.client import missed_by, out_of_reach

TARGETS: dict[str, Target] = {target.kind: target for target in (LocalVllm(), RayServe(), KServeCluster())}
STANDING: dict[str, ReplaceableTarget] = {RayServe.kind: RayServe()}
"""Those whose deployments can be rolled back and deleted."""
TEXTS: dict[str, Text] = {LocalVllm.kind: LocalVllm(), KServeText.kind: KServeText()}
_ELSEWHERE = {"tracking", "storage"}
"""Sections of an experiment that a deployment's record leaves out: they say where things lie, may hold a password, and
are as they are now."""


def deploy(candidate: Candidate, target: Target, console: Console) -> bool:
    """Start a variant and verify it; whether that went well. One that fails its verification is ended, unless it was
    live before.

    Raises:
        UserError: its checkpoint is not the one that was measured, or the target cannot take it.
    """
    run = candidate.run
    check_files(candidate)
    run.progress.say(candidate.variant, f"checkpoint matches its record; deploying to {target.kind} ...")
    try:
        with target.deploying(candidate) as deployed:
            run.progress.say(candidate.variant, f"healthy at {deployed.verified_at}; verifying ...")
            verification = verified(deployed.verified_at, candidate, console)
            if not verification.passed:
                left = "it continues to serve, as before" if deployed.stood_before else "rolled back and ended"
                raise StepFailed(f"{left}: {verification.failures}")
    except StepFailed as failure:
        console.print(f"not deployed: {failure}", markup=False, highlight=False, soft_wrap=True)
        return False
    _record(candidate, deployed)
    model_card = card.write(candidate, deployed)
    with out_of_reach(missed_by(candidate.run)):
        if version := registry.register(run.plan.experiment, candidate.checkpoint.fingerprint, _tags(candidate)):
            run.progress.say("mlflow", f"registered {version}")
    for key, value in {
        "deployed": f"{deployed.variant} at {deployed.url}/v1, model {deployed.model}, {deployed.served_by}",
        "stop": deployed.stop,
        "log": deployed.log,
        "card": str(model_card),
    }.items():
        console.print(f"{key:<9} {value}", markup=False, highlight=False, soft_wrap=True)
    return True


def verified(url: str, candidate: Candidate, console: Console) -> verify.Verification:
    """Verify what answers at an address; on the terminal, in the store and in MLflow."""
    verification = verify.verify(url, candidate)
    name = verify.file_name(candidate.variant)
    candidate.run.store.keep(candidate.run.plan.experiment.name, name, verification.to_json())
    with out_of_reach(missed_by(candidate.run)):
        verdict = f"{verification.variant}: {'pass' if verification.passed else 'FAIL'}"
        registry.verified(candidate.run.plan.experiment, verdict, verification.figures, name)
    verify.show(verification, console)
    return verification


def standing(kind: str) -> ReplaceableTarget:
    """The target of that kind, if its deployments can be replaced and taken away.

    Raises:
        UserError: they cannot.
    """
    if kind not in STANDING:
        raise UserError(
            f"--target {kind}: --rollback and --delete work only with {', '.join(STANDING)}; end any other deployment "
            "with the command that `deploy` printed"
        )
    return STANDING[kind]


def before(experiment: Experiment, target: ReplaceableTarget) -> tuple[Experiment, str]:
    """What was deployed before the present deployment: the experiment as it was then, and the variant's name.

    Raises:
        UserError: there is no such record.
    """
    present = _recorded(experiment)
    previous = present.get("previous")
    previous = previous if isinstance(previous, dict) else {}
    if target.kind != present.get("kind") or target.kind != previous.get("kind"):
        raise UserError(
            f"--rollback: nothing to roll back to, as no two successive deployments of {experiment.name} to "
            f"{target.kind} are recorded; deploy a variant with --variant NAME"
        )
    now = {name: getattr(experiment, name) for name in _ELSEWHERE}
    try:
        return Experiment.model_validate({**previous["experiment"], **now}), str(previous["variant"])
    except (ValidationError, KeyError, TypeError):
        raise UserError(
            f"--rollback: a different version of this project made the previous deployment of {experiment.name}; "
            "deploy a variant with --variant NAME"
        ) from None


def delete(experiment: Experiment, target: ReplaceableTarget, console: Console) -> None:
    """End what is deployed; its record is empty from then on, and no registered version is the champion."""
    done = [target.delete(experiment)]
    if _recorded(experiment).get("kind") == target.kind:
        Store.of(experiment.storage).keep(experiment.name, DEPLOYMENT, {})
        with out_of_reach(lambda reason: done.append(f"MLflow is out of reach and keeps its champion: {reason}")):
            if version := registry.withdraw(experiment):
                done.append(f"in MLflow {version}")
    for line in done:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _record(candidate: Candidate, deployed: Deployed) -> None:
    """Leave in the store what is deployed, and what was before, each with all that it takes to deploy it again."""
    run = candidate.run
    present = _recorded(run.plan.experiment)
    same = present.get("mark") == deployed.mark
    previous = present.get("previous") if same else {k: v for k, v in present.items() if k != "previous"} or None
    written: dict[str, Any] = {
        **asdict(deployed),
        "host": socket.gethostname(),
        "at": time.time(),
        "licences": {label: licence.words for label, licence in card.licences(candidate).items()},
        "experiment": run.plan.experiment.model_dump(mode="json", exclude=_ELSEWHERE),
        "records": sorted(
            {
                step.fingerprint
                for plan in (run.plan.base, run.plan.baseline, candidate.outcome.plan)
                for step in plan.steps
            }
        ),
        "previous": previous,
    }
    run.store.keep(run.plan.experiment.name, DEPLOYMENT, written)


def _tags(candidate: Candidate) -> dict[str, str]:
    """Tags of its version in the Model Registry."""
    scheme = candidate.outcome.plan.scheme
    tags = {"verdict": candidate.judged.verdict or "baseline", "scheme": scheme.kind if scheme else "none"}
    if (capacity := candidate.judged.capacity) is not None:
        kept = "none" if capacity.asked is None else in_words(capacity.asked, capacity.unit)
        tags["load_within_limits"] = kept
    for difference in candidate.judged.differences if candidate.compared else ():
        if difference.recovery is not None:
            low, high = difference.recovery_low, difference.recovery_high
            tags[f"recovery.{difference.task}"] = f"{difference.recovery:.4f} [{low:.4f}, {high:.4f}]"
    return tags


def _recorded(experiment: Experiment) -> dict[str, Any]:
    """The record of the present deployment; empty where there is none."""
    return Store.of(experiment.storage).kept_mapping(experiment.name, DEPLOYMENT)
