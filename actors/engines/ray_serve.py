"""Ray Serve: one application per variant, whose replica is one vLLM server.

Serve places an engine, starts it, looks after it and ends it. Requests go to vLLM's own HTTP server, at a port of its
own: on an H100, Ray's layer for language models (every token through replica, ingress and proxy) cost 39 % of the
throughput at 32 clients and all of it at 128, and its direct streaming still hands each piece of an answer from one of
the replica's event loops to another. A replica is a light process: it imports nothing of vLLM, which runs below it.
"""

import math
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve._private.logging_utils import get_serve_logs_dir
from ray.serve.api import RunTarget
from ray.serve.config import AutoscalingContext, AutoscalingPolicy
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from actors import openai_client
from actors.artifacts import EngineSpec
from actors.placement.processes import LEASE_MARK
from actors.programs import compile_cache, vllm_server
from actors.programs.session import Session
from actors.programs.watched_log import WatchedLog

CONFIGURING = threading.RLock()
"""For every configuration that it makes or reads, Ray registers a module for pickling by value, pickles it and
unregisters it: of two threads that do so at once, and a status is enough, the second fails ("is not registered for
pickle by value")."""
_POLL_S = 1.0
"""Between two looks at an application. Asking Serve is not cheap: five times a second took 0.4 of a core
from the engines that were starting on it."""
_HEALTH_S = 60.0
_SCALED_BY = "requests"


class Engine:
    """One vLLM server, which lives as long as this replica does."""

    def __init__(self, spec: EngineSpec) -> None:
        """Start it, and wait until it answers.

        Raises:
            NotStarted: it does not.
        """
        host = spec.host or ray.util.get_node_ip_address()
        port = vllm_server.free_port(host)
        self._key = spec.key
        self._holds_whole_gpus = spec.gpus >= 1
        self._url = vllm_server.address(host, port)
        folder = Path(get_serve_logs_dir())
        log = folder / f"vllm-{re.sub(r'[^A-Za-z0-9._-]', '-', spec.model)}-{port}.log"
        compiled = compile_cache.prepare(Path(spec.cache))
        command = vllm_server.command(
            sys.executable, spec.checkpoint, spec.model, spec.arguments, host, port, guarded=bool(spec.key)
        )
        with log.open("w") as output:
            self._session = Session(
                command,
                variables={
                    **vllm_server.inherited(),
                    **compiled,
                    **spec.variables,
                    **vllm_server.key_variables(spec.key),
                },
                folder=folder,  # not one whose modules it would import
                log=output,
            )
        self._log = WatchedLog(log)
        vllm_server.await_healthy(self._url, log, lambda: self._session.status, spec.start_timeout_s)

    def url(self) -> str:
        """Where it answers, without /v1; another one than before where it had to start again."""
        return self._url

    def wrote(self, spans: list[tuple[float, float]]) -> list[str]:
        """What vLLM wrote into its log inside each of some spans; seconds since 1970 on this node."""
        return [self._log.between(*span) for span in spans]

    def gpus(self) -> tuple[str, ...]:
        """UUIDs of the GPUs that it has to itself, if they tell their energy; none where it shares one."""
        if not self._holds_whole_gpus:
            return ()
        from actors.engines import nvml

        return nvml.held(os.environ.get("CUDA_VISIBLE_DEVICES", ""))

    def check_health(self) -> None:
        """Serve asks this, and replaces a replica that raises."""
        if (status := self._session.status) is not None:
            raise RuntimeError(f"vllm serve ended with {status}")
        if (answered := openai_client.get(f"{self._url}/health", patience_s=_HEALTH_S)[0]) != 200:
            raise RuntimeError(f"vllm serve answers {answered} at /health")

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve scales by: it sees no request itself."""
        return {_SCALED_BY: self.under_way()}

    def under_way(self) -> int:
        """Requests that run or wait in the engine."""
        return vllm_server.requests_under_way(openai_client.get(f"{self._url}/metrics", _HEALTH_S, self._key)[1])

    def __del__(self) -> None:
        """Serve's last call to a replica that it ends in peace."""
        if session := getattr(self, "_session", None):
            session.end()


def submit(spec: EngineSpec, node: str) -> None:
    """Ask for an application with one engine, without waiting for it.

    Args:
        node: address of the node that it runs on.
    """
    start()
    with CONFIGURING:
        app = engine_application(spec, beside={f"node:{node}": 0.001}, scale=(1, 1, 1.0), drain_s=5)
        serve.run_many([RunTarget(app, name=spec.model, route_prefix=None)], wait_for_applications_running=False)


def start() -> None:
    """Start Serve where it does not run, without a proxy: nobody asks it for an answer.

    It outlives whoever starts it, as others may have applications on it: so it does not bear the lease's mark.
    """
    serve.start(
        proxy_location="Disabled",
        controller_options={"runtime_env": {"env_vars": {LEASE_MARK: ""}}},
        logging_config={"enable_access_log": False},
    )


def engine_application(
    spec: EngineSpec, *, beside: dict[str, float], scale: tuple[int, int, float], drain_s: float
) -> serve.Application:
    """What is the same for every engine, whether it is benchmarked or deployed.

    Args:
        beside: further resources of a replica.
        scale: engines at least and at most, and the requests under way in each that another one is added for.
        drain_s: what Serve gives a replica to end.
    """
    deployment: Any = serve.deployment(
        Engine,
        name="Engine",
        max_constructor_retry_count=1,
        health_check_timeout_s=_HEALTH_S,
        graceful_shutdown_timeout_s=drain_s,
        ray_actor_options={
            "num_cpus": spec.cores or max(1, int(spec.gpus)),
            "num_gpus": spec.gpus,
            "resources": beside,
            "runtime_env": {"env_vars": {LEASE_MARK: spec.lease}},
        },
        **_scaled(*scale),
    )
    application: serve.Application = deployment.bind(spec)
    return application


def _scaled(least: int, most: int, each: float) -> dict[str, Any]:
    """How many replicas there are, as options of a deployment."""
    if least == most:
        return {"num_replicas": least}
    policy = AutoscalingPolicy(policy_function=by_requests)
    scaling = {"min_replicas": least, "max_replicas": most, "target_ongoing_requests": each, "policy": policy}
    return {"autoscaling_config": scaling}


def by_requests(seen: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """How many engines there should be, by the requests in those that there are; Serve's own bounds apply."""
    assert seen.config is not None, "Serve asks with the deployment's own"
    counted = (seen.aggregated_metrics or {}).get(_SCALED_BY, {})
    return math.ceil(sum(counted.values()) / seen.config.target_ongoing_requests), {}


def wait(name: str, timeout_s: float) -> str:
    """Where an application's engine answers, as soon as it does.

    Raises:
        RuntimeError: it failed to start; with the engine's own last words.
        TimeoutError: it took too long.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        application = _applications().get(name)
        if application is not None and application.status == ApplicationStatus.RUNNING:
            return url(name)
        if application is not None and application.status == ApplicationStatus.DEPLOY_FAILED:
            messages = [deployment.message for deployment in application.deployments.values()]
            raise RuntimeError(f"the server of {name} did not start: {_last_error([application.message, *messages])}")
        time.sleep(_POLL_S)
    raise TimeoutError(f"the server of {name} did not answer within {timeout_s:g} s (serving.start_timeout_s)")


def url(name: str) -> str:
    """Where an application's one engine answers now, without /v1."""
    answered: str = serve.get_app_handle(name).url.remote().result(timeout_s=_HEALTH_S)
    return answered


def wrote(name: str, spans: list[tuple[float, float]]) -> list[str]:
    """What an application's one engine wrote into its log inside each of some spans."""
    answered: list[str] = serve.get_app_handle(name).wrote.remote(spans).result(timeout_s=_HEALTH_S)
    return answered


def gpus(name: str) -> tuple[str, ...]:
    """UUIDs of the GPUs that an application's one engine has to itself, if they tell their energy."""
    answered: tuple[str, ...] = serve.get_app_handle(name).gpus.remote().result(timeout_s=_HEALTH_S)
    return answered


def _last_error(messages: list[str]) -> str:
    """The line of a traceback that names the error."""
    lines = [line.strip() for message in messages for line in message.splitlines()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|NotStarted)\b.*:", line)]
    return errors[-1] if errors else " ".join(lines)[-300:]


def remove(name: str) -> None:
    """Delete an application, where there is one, and wait until its replicas are gone."""
    if name in applications():
        serve.delete(name)


def applications() -> list[str]:
    """Names of all applications; none where Serve does not run."""
    return list(_applications())


def _applications() -> dict[str, ApplicationStatusOverview]:
    with CONFIGURING:
        return serve.status().applications


def close() -> None:
    """End Serve itself where it runs nothing any more."""
    if _get_global_client(raise_if_no_controller_running=False) is not None and not applications():
        serve.shutdown()
