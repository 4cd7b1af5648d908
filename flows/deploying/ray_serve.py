"""The target `serve`: a Ray Serve application on a cluster that outlives the command, replaced while it answers.

One front keeps the address. Every deployment is a generation of engines behind it: started beside the one that
is live, verified under a path of its own, then made the live one in one step; the one before goes once its last
request has ended. A generation is named by its settings, so that the same deployment twice is one.
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
from actors.placement.coordinator import claimed, conductor
from actors.placement.lease import Needs, check_feasible
from actors.programs import vllm_server
from actors.serving import LOOPBACK, end_deployment, mark_of, serve_in_hand, serving_host
from configs.base import UserError
from configs.experiment import Experiment
from configs.serving import api_key
from flows import cluster
from flows.deploying.candidate import Chosen
from flows.deploying.target import Deployed
from flows.runtime.context import StepFailed
from flows.runtime.faults import fault
from flows.store.records import DEPLOYMENT

_SWITCH_S = 60.0
"""Until the front has heard of a change."""
_ENDING_S = 10.0
_POLL_S = 0.2


class RayServe:
    """An application on the cluster that RAY_ADDRESS names."""

    kind: ClassVar[str] = "serve"
    only_if_applied: ClassVar[bool] = False

    @contextlib.contextmanager
    def deploying(self, chosen: Chosen) -> Iterator[Deployed]:
        """A generation beside the one that is live; it takes its place where the block ends well.

        Raises:
            UserError: no cluster is named, or it can never hold the engines.
            StepFailed: it did not start.
        """
        _check(chosen)
        experiment, say = chosen.run.plan.experiment, chosen.run.progress.say
        with _at_work(experiment, chosen.run.plan.hardware.accelerator) as work:
            before = work.live()
            offered = _Offered.of(chosen, work.front)
            for stray in work.generations() - {before, offered.generation}:
                work.end(stray)
            work.say_wait(chosen, before)
            try:
                deployed = replace(_start(work, chosen, offered), stood_before=offered.generation == before)
                yield deployed
                work.direct(offered.generation)
            except BaseException:
                if before is None:
                    work.end_all()
                elif offered.generation != before:
                    work.end(offered.generation)
                raise
            if before not in (None, offered.generation) and not experiment.deploying.keep_previous:
                say(chosen.variant, f"live at {deployed.url}; the one before ends its requests ...")
                work.drain_and_end(before)

    def delete(self, experiment: Experiment) -> str:
        """End the engines once their last request has ended, and the front."""
        _check_named()
        with _at_work(experiment, cluster.accelerator(experiment)) as work:
            if not work.exists():
                raise UserError(f"--delete: nothing is deployed of {experiment.name} on the cluster at {_address()}")
            if (live := work.live()) is not None:
                work.direct(None)
                work.drain_and_end(live)
            work.end_all()
        return f"{experiment.name} is not deployed on the cluster at {_address()} any more"


@dataclass(frozen=True)
class _Offered:
    """A generation before it is started."""

    generation: str
    cores: tuple[int, ...]
    settings: dict[str, Any]

    @classmethod
    def of(cls, chosen: Chosen, front: str) -> "_Offered":
        plan, deploying = chosen.run.plan, chosen.run.plan.experiment.deploying
        serving = plan.experiment.serving
        told = {
            "model": plan.experiment.name,
            "engine": chosen.engine,
            "gpus": 0 if plan.hardware.on_cpu else serving.gpus,
            "scale": (deploying.replicas, deploying.most, deploying.target_ongoing_requests or serving.max_num_seqs),
            "drain_s": deploying.drain_s,
        }
        named = json.dumps({**told, "checkpoint": chosen.checkpoint.fingerprint}, sort_keys=True)
        cores = _seat(chosen)
        here = {
            "variables": vllm_server.variables(cores, serving.kv_cache_gib),
            "cores": len(cores),
            "key": api_key(),
            "host": LOOPBACK if len(_nodes()) == 1 else None,  # else the front asks from another node
            "cache": str(plan.experiment.storage.compiled),
            "start_timeout_s": serving.start_timeout_s,
        }
        generation = hashlib.sha256(named.encode()).hexdigest()[:8]
        return cls(generation, cores, told | here)


@dataclass(frozen=True)
class _Work:
    """One deployment's front and generations, by the actor that changes them."""

    conductor: Any
    server: ActorHandle[Any]
    experiment: Experiment
    logs: str

    @property
    def front(self) -> str:
        """The front's application. No experiment's name has a colon, so no run takes it for its own."""
        return f"deployed:{self.experiment.name}"

    @property
    def settings(self) -> dict[str, Any]:
        """Of the front."""
        serving = self.experiment.serving
        return {"route": f"/deployed/{self.experiment.name}", "bind": (serving.host, serving.port)}

    def exists(self) -> bool:
        return bool(self._applications())

    def generations(self) -> set[str]:
        return {name.removeprefix(f"{self.front}:") for name in self._applications() if name != self.front}

    def _applications(self) -> list[str]:
        asked: Any = self.server.applications.remote(self.front)
        return [name for name in ray.get(asked) if name == self.front or name.startswith(f"{self.front}:")]

    def live(self) -> str | None:
        asked: Any = self.server.live.remote(self.front)
        found: str | None = ray.get(asked)
        return found

    def direct(self, generation: str | None) -> None:
        told = {**self.settings, "mark": mark_of(self.front), "timeout_s": _SWITCH_S}
        ray.get(self.server.direct.remote(self.front, generation, told))

    def say_wait(self, chosen: Chosen, before: str | None) -> None:
        if before is not None:
            chosen.run.progress.say(chosen.variant, f"generation {before} goes on answering meanwhile")

    def drain_and_end(self, generation: str) -> None:
        ray.get(self.server.drain.remote(self.front, generation, self.experiment.deploying.drain_s))
        self.end(generation)

    def end(self, generation: str) -> None:
        end_deployment(self.server, f"{self.front}:{generation}", _nodes(), _ENDING_S)

    def end_all(self) -> None:
        """The front, and whatever is behind it."""
        end_deployment(self.server, self.front, _nodes(), _ENDING_S)
        for generation in self.generations():
            self.end(generation)


def _start(work: _Work, chosen: Chosen, offered: _Offered) -> Deployed:
    """Ask for a generation and wait until it answers."""
    experiment, application = chosen.run.plan.experiment, f"{work.front}:{offered.generation}"
    serving, marks = experiment.serving, (mark_of(work.front), mark_of(application))
    told = {**work.settings, **offered.settings, "marks": marks}
    try:
        with serve_in_hand(work.conductor):
            asked: Any = work.server.offer.remote(work.front, offered.generation, str(chosen.folder), told)
            ray.get(asked)
        for name in (application, work.front):
            waited: Any = work.server.wait.remote(name, serving.start_timeout_s)
            url, _ = ray.get(waited)
        _await_way(f"{url}/{offered.generation}")
    except (ray.exceptions.RayError, RuntimeError) as error:
        raise StepFailed(str(fault(error))) from None
    again = f"RAY_ADDRESS={_address()} python -m flows deploy EXPERIMENT.yaml --target serve"
    return Deployed(
        kind=RayServe.kind,
        variant=chosen.variant,
        model=experiment.name,
        url=url,
        verified_at=f"{url}/{offered.generation}",
        checkpoint=chosen.checkpoint.fingerprint,
        how=f"{again} --variant {chosen.variant}",
        stop=f"{again} --delete",
        log=f"{work.logs}/serve",
        mark=marks[1],
        cores=offered.cores,
        application=application,
    )


def _await_way(url: str) -> None:
    """Return once the front leads to a generation that is up: it looks every two seconds where the engines are.

    Raises:
        StepFailed: it does not.
    """
    deadline = time.monotonic() + _SWITCH_S
    while openai_client.get(f"{url}/health", patience_s=_SWITCH_S)[0] != 200:
        if time.monotonic() > deadline:
            raise StepFailed(f"{url} does not lead to its engines within {_SWITCH_S:g} s, though they are up")
        time.sleep(_POLL_S)


@contextlib.contextmanager
def _at_work(experiment: Experiment, accelerator: str) -> Iterator[_Work]:
    """Nobody else changes the same deployment inside the block."""
    with cluster.connected(accelerator) as logs:
        conducting = conductor(runtime_env={"py_executable": str(environments.interpreter("driver"))})
        with claimed(conducting, f"deployment of {experiment.name}"), serving_host(conducting) as server:
            yield _Work(conducting, server, experiment, str(logs))


def _check(chosen: Chosen) -> None:
    """Raise UserError where it can never work."""
    _check_named()
    plan, deploying = chosen.run.plan, chosen.run.plan.experiment.deploying
    if plan.hardware.on_cpu and deploying.most > 1:
        raise UserError(
            f"deploying: {deploying.most} replicas on CPUs would compute on the same cores, which vLLM is told by "
            "number; keep to one, or serve on GPUs"
        )
    gpus = 0 if plan.hardware.on_cpu else plan.experiment.serving.gpus
    with cluster.connected(plan.hardware.accelerator):
        check_feasible("an engine of the deployment", Needs(cores=len(chosen.cores), gpus=gpus))
        if len(_nodes()) > 1 and api_key() is None:
            raise UserError(
                "VLLM_API_KEY: missing, and on a cluster of several nodes engines listen on the nodes' own addresses; "
                "set it, and clients show it"
            )


def _check_named() -> None:
    if not cluster.is_named():
        raise UserError(
            "--target serve: RAY_ADDRESS names no cluster, and a deployment needs one that goes on after this command; "
            "start one with `ray start --head` of the driver's environment, and set RAY_ADDRESS to the HOST:PORT that "
            "it says"
        )


def _seat(chosen: Chosen) -> tuple[int, ...]:
    """Cores as benchmarked; another seat than that of the deployment which is up, where there is one."""
    seats = chosen.run.plan.seats.engines
    deployed = chosen.run.store.kept_mapping(chosen.run.plan.experiment.name, DEPLOYMENT)
    taken = tuple(deployed.get("cores", ()))
    return next((seat for seat in seats if seat != taken), seats[0])


def _nodes() -> list[str]:
    return [node["NodeID"] for node in ray.nodes() if node["Alive"]]


def _address() -> str:
    return os.environ["RAY_ADDRESS"]
