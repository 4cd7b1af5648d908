"""The target `serve`: a Ray Serve application on a cluster that outlives the command, replaced while it answers.

One ingress keeps the address. Every deployment is a revision of engines behind it: started beside the one that
is live, verified under a path of its own, then made the live one in one step; the one before goes once its last
request has ended. A revision is named by its settings, so that the same deployment twice is one.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import ray
from ray.actor import ActorHandle

from actors import environments, openai_client
from actors.artifacts import EngineSpec
from actors.placement.coordinator import claimed, coordinator
from actors.placement.lease import Needs, check_feasible
from actors.programs import vllm_server
from actors.serving import LOOPBACK, end_deployment, mark_of, serve_in_hand, serving_host
from configs.base import UserError
from configs.experiment import Experiment
from configs.serving import api_key
from flows import cluster
from flows.deploying.candidate import Candidate
from flows.deploying.target import Deployed
from flows.runtime.errors import StepFailed
from flows.runtime.faults import fault
from flows.store.records import DEPLOYMENT

_SWITCH_S = 60.0
"""Until the ingress has heard of a change."""
_ENDING_S = 10.0
_POLL_S = 0.2


class RayServe:
    """An application on the cluster that RAY_ADDRESS names."""

    kind: ClassVar[str] = "serve"
    only_if_applied: ClassVar[bool] = False

    @contextlib.contextmanager
    def deploying(self, candidate: Candidate) -> Iterator[Deployed]:
        """A revision beside the one that is live; it replaces that one where the block ends well.

        Raises:
            UserError: no cluster is named, or it can never hold the engines.
            StepFailed: it did not start.
        """
        _check(candidate)
        experiment, say = candidate.run.plan.experiment, candidate.run.progress.say
        with _at_work(experiment, candidate.run.plan.hardware.accelerator) as work:
            before = work.live()
            offered = _Offered.of(candidate, work.ingress)
            for stray in work.revisions() - {before, offered.revision}:
                work.end(stray)
            work.say_wait(candidate, before)
            try:
                deployed = replace(_start(work, candidate, offered), stood_before=offered.revision == before)
                yield deployed
                work.direct(offered.revision)
            except BaseException:
                if before is None:
                    work.end_all()
                elif offered.revision != before:
                    work.end(offered.revision)
                raise
            if before not in (None, offered.revision) and not experiment.deploying.keep_previous:
                say(candidate.variant, f"live at {deployed.url}; the previous deployment finishes its requests ...")
                work.drain_and_end(before)

    def delete(self, experiment: Experiment) -> str:
        """End the engines once their last request has ended, and the ingress."""
        _check_named()
        with _at_work(experiment, cluster.accelerator(experiment)) as work:
            if not work.exists():
                raise UserError(f"--delete: {experiment.name} is not deployed on the cluster at {_address()}")
            if (live := work.live()) is not None:
                work.direct(None)
                work.drain_and_end(live)
            work.end_all()
        return f"{experiment.name} is no longer deployed on the cluster at {_address()}"


@dataclass(frozen=True)
class _Offered:
    """A revision before it is started."""

    revision: str
    cores: tuple[int, ...]
    spec: EngineSpec
    scaling: dict[str, Any]
    """How many engines there are, and what they get to end."""

    @classmethod
    def of(cls, candidate: Candidate, ingress: str) -> "_Offered":
        plan, deploying = candidate.run.plan, candidate.run.plan.experiment.deploying
        serving, cores = candidate.outcome.plan.serving, _slot(candidate)
        gpus = 0 if plan.hardware.on_cpu else serving.gpus
        scaling = {
            "scale": (deploying.replicas, deploying.most, deploying.target_ongoing_requests or serving.max_num_seqs),
            "drain_s": deploying.drain_s,
        }
        named = {"model": plan.experiment.name, "engine": candidate.engine, "gpus": gpus, **scaling}
        text = json.dumps({**named, "checkpoint": candidate.checkpoint.fingerprint}, sort_keys=True)
        revision = hashlib.sha256(text.encode()).hexdigest()[:8]
        spec = EngineSpec(
            model=plan.experiment.name,
            checkpoint=str(candidate.folder),
            arguments=candidate.engine,
            lease=mark_of(f"{ingress}:{revision}"),
            variables=vllm_server.variables(cores, serving.kv_cache_gib),
            cores=len(cores),
            gpus=gpus,
            host=LOOPBACK if len(_nodes()) == 1 else None,  # else the ingress asks from another node
            cache=str(plan.experiment.storage.compiled),
            start_timeout_s=serving.start_timeout_s,
            key=api_key(),
        )
        return cls(revision, cores, spec, scaling)


@dataclass(frozen=True)
class _Work:
    """One deployment's ingress and revisions, by the actor that changes them."""

    coordinator: Any
    server: ActorHandle[Any]
    experiment: Experiment
    logs: str

    @property
    def ingress(self) -> str:
        """The ingress's application. No experiment's name has a colon, so no run takes it for its own."""
        return f"deployed:{self.experiment.name}"

    @property
    def settings(self) -> dict[str, Any]:
        """Of the ingress."""
        serving = self.experiment.serving
        return {"route": f"/deployed/{self.experiment.name}", "bind": (serving.host, serving.port)}

    def exists(self) -> bool:
        return bool(self._applications())

    def revisions(self) -> set[str]:
        return {name.removeprefix(f"{self.ingress}:") for name in self._applications() if name != self.ingress}

    def _applications(self) -> list[str]:
        ref: Any = self.server.applications.remote(self.ingress)
        return [name for name in ray.get(ref) if name == self.ingress or name.startswith(f"{self.ingress}:")]

    def live(self) -> str | None:
        ref: Any = self.server.live.remote(self.ingress)
        revision: str | None = ray.get(ref)
        return revision

    def direct(self, revision: str | None) -> None:
        settings = {**self.settings, "mark": mark_of(self.ingress), "timeout_s": _SWITCH_S}
        ray.get(self.server.direct.remote(self.ingress, revision, settings))

    def say_wait(self, candidate: Candidate, before: str | None) -> None:
        if before is not None:
            candidate.run.progress.say(candidate.variant, f"revision {before} continues to serve meanwhile")

    def drain_and_end(self, revision: str) -> None:
        ray.get(self.server.drain.remote(self.ingress, revision, self.experiment.deploying.drain_s))
        self.end(revision)

    def end(self, revision: str) -> None:
        end_deployment(self.server, f"{self.ingress}:{revision}", _nodes(), _ENDING_S)

    def end_all(self) -> None:
        """The ingress, and whatever is behind it."""
        end_deployment(self.server, self.ingress, _nodes(), _ENDING_S)
        for revision in self.revisions():
            self.end(revision)


def _start(work: _Work, candidate: Candidate, offered: _Offered) -> Deployed:
    """Ask for a revision and wait until it answers."""
    experiment, application = candidate.run.plan.experiment, f"{work.ingress}:{offered.revision}"
    serving = experiment.serving
    settings = {**work.settings, **offered.scaling, "mark": mark_of(work.ingress)}
    try:
        with serve_in_hand(work.coordinator):
            ref: Any = work.server.offer.remote(work.ingress, offered.revision, offered.spec, settings)
            ray.get(ref)
        for name in (application, work.ingress):
            waited: Any = work.server.wait.remote(name, serving.start_timeout_s)
            url, _ = ray.get(waited)
        _await_way(f"{url}/{offered.revision}")
    except (ray.exceptions.RayError, RuntimeError) as error:
        raise StepFailed(str(fault(error))) from None
    again = f"RAY_ADDRESS={_address()} python -m flows deploy EXPERIMENT.yaml --target serve"
    return Deployed(
        kind=RayServe.kind,
        variant=candidate.variant,
        model=experiment.name,
        url=url,
        verified_at=f"{url}/{offered.revision}",
        checkpoint=candidate.checkpoint.fingerprint,
        how=f"{again} --variant {candidate.variant}",
        stop=f"{again} --delete",
        log=f"{work.logs}/serve",
        mark=offered.spec.lease,
        cores=offered.cores,
        application=application,
    )


def _await_way(url: str) -> None:
    """Return once the ingress leads to a revision that is up: it looks every two seconds where the engines are.

    Raises:
        StepFailed: it does not.
    """
    deadline = time.monotonic() + _SWITCH_S
    while openai_client.get(f"{url}/health", patience_s=_SWITCH_S)[0] != 200:
        if time.monotonic() > deadline:
            raise StepFailed(f"{url} did not reach its engines within {_SWITCH_S:g} s, although they are up")
        time.sleep(_POLL_S)


@contextlib.contextmanager
def _at_work(experiment: Experiment, accelerator: str) -> Iterator[_Work]:
    """Nobody else changes the same deployment inside the block."""
    with cluster.connected(accelerator) as logs:
        conducting = coordinator(runtime_env={"py_executable": str(environments.interpreter("driver"))})
        with claimed(conducting, f"deployment of {experiment.name}"), serving_host(conducting) as server:
            yield _Work(conducting, server, experiment, str(logs))


def _check(candidate: Candidate) -> None:
    """Raise UserError where it can never work."""
    _check_named()
    plan, deploying = candidate.run.plan, candidate.run.plan.experiment.deploying
    if plan.hardware.on_cpu and deploying.most > 1:
        raise UserError(
            f"deploying: {deploying.most} replicas on CPUs would share the same pinned cores; set replicas: 1 "
            "without max_replicas, or deploy on GPUs"
        )
    gpus = 0 if plan.hardware.on_cpu else candidate.outcome.plan.serving.gpus
    with cluster.connected(plan.hardware.accelerator):
        check_feasible("an engine of the deployment", Needs(cores=len(candidate.cores), gpus=gpus))
        if len(_nodes()) > 1 and api_key() is None:
            raise UserError(
                "VLLM_API_KEY: missing, and on a cluster of several nodes engines listen on the nodes' own addresses; "
                "set it, and give it to the clients"
            )


def _check_named() -> None:
    if not cluster.is_named():
        raise UserError(
            "--target serve: RAY_ADDRESS names no cluster, but a deployment needs one that outlives this command; "
            "start one with `ray start --head` of the driver's environment, and set RAY_ADDRESS to the HOST:PORT that "
            "it prints"
        )


def _slot(candidate: Candidate) -> tuple[int, ...]:
    """Cores as benchmarked; another slot than that of the deployment which is up, where there is one."""
    slots = candidate.run.plan.slots.engines
    deployed = candidate.run.store.kept_mapping(candidate.run.plan.experiment.name, DEPLOYMENT)
    return next((slot for slot in slots if list(slot) != deployed.get("cores")), slots[0])


def _nodes() -> list[str]:
    return [node["NodeID"] for node in ray.nodes() if node["Alive"]]


def _address() -> str:
    return os.environ["RAY_ADDRESS"]
