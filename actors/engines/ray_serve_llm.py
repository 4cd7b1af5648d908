"""ray.serve.llm: one Serve application per variant, with vLLM under it."""

import re
import threading
import time
from typing import Any

from ray import serve
from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.llm._internal.serve.core.server import llm_server
from ray.serve.api import RunTarget
from ray.serve.config import HTTPOptions
from ray.serve.context import _get_global_client
from ray.serve.llm import LLMConfig, build_openai_app
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from actors.processes import LEASE_MARK

CONFIGURING = threading.RLock()
"""For every configuration that it makes or reads, Ray registers a module for pickling by value, pickles it and
unregisters it: of two threads that do so at once, and a status is enough, the second fails ("is not registered for
pickle by value")."""
_POLL_S = 2.0
"""Between two looks at an application. Asking Serve is not cheap: five times a second took 0.4 of a core
from the engines that were starting on it."""

MOST_ONGOING = 4096
"""Requests that one replica takes: the engine queues them, not Serve."""


class LeanReplica(CallbackBase):
    """Leaves out two processes of Ray's that cost a small machine seconds and memory: the download step
    (it imports vLLM only to find nothing to do) and the usage report, whose actor outlives the
    application (7 s of the start, 0.3 GB)."""

    async def on_before_node_init(self) -> None:
        self.ctx.run_init_node = False
        vars(llm_server)["push_telemetry_report_for_all_models"] = _no_report


def _no_report(**_: Any) -> None:
    """Usage is reported to nobody."""


def submit(
    name: str,
    checkpoint: str,
    *,
    engine: dict[str, Any],
    variables: dict[str, str],
    lease: str,
    cores: int,
    gpus: float,
    node: str,
    host: str,
    port: int,
) -> str:
    """Ask for an application, without waiting for it; it will be reached at /NAME/v1 under the address that
    is returned. Where Serve runs already, that is Serve's own address.

    Args:
        engine: vLLM engine arguments.
        variables: environment variables of the engine's processes.
        cores: CPU cores of the replica where it runs on a CPU; 0 with GPUs.
        gpus: GPUs of the replica: one bundle each, or a share of one.
        node: address of the node that it runs on.
    """
    address = start(host, port)
    with CONFIGURING:
        there = {f"node:{node}": 0.001}
        config = engine_config(
            name,
            checkpoint,
            engine=engine,
            variables={**variables, LEASE_MARK: lease},
            cores=cores,
            gpus=gpus,
            beside=there,
            replicas={"num_replicas": 1, "graceful_shutdown_timeout_s": 5},
        )
        app = build_openai_app(
            {
                "llm_configs": [config],
                "ingress_deployment_config": {
                    "num_replicas": 1,
                    "max_ongoing_requests": MOST_ONGOING,
                    # Beside its engine: on another node the network between them would be measured too.
                    "ray_actor_options": {
                        "num_cpus": 0,
                        "resources": there,
                        "runtime_env": {"env_vars": {LEASE_MARK: lease}},
                    },
                },
            }
        )
        serve.run_many([RunTarget(app, name=name, route_prefix=f"/{name}")], wait_for_applications_running=False)
    return address


def start(host: str, port: int) -> str:
    """Start Serve where it does not run; return the address that it really listens on.

    It outlives whoever starts it, as others may have applications on it: so it does not bear the lease's mark.
    """
    serve.start(
        http_options=HTTPOptions(host=host, port=port),
        controller_options={"runtime_env": {"env_vars": {LEASE_MARK: ""}}},
        logging_config={"enable_access_log": False},
    )
    client = _get_global_client()
    assert client is not None, "it was started above"
    return f"http://{client.http_config.host}:{client.http_config.port}"


def engine_config(
    model: str,
    checkpoint: str,
    *,
    engine: dict[str, Any],
    variables: dict[str, str],
    cores: int,
    gpus: float,
    beside: dict[str, float],
    replicas: dict[str, Any],
) -> LLMConfig:
    """What is the same for every engine, whether it is benchmarked or deployed.

    Args:
        model: the name that requests give.
        beside: further resources of a replica.
        replicas: how many there are, and how they end: options of a Serve deployment.
    """
    workers = max(1, int(gpus))
    held = {"CPU": 1.0, "GPU": gpus / workers} if gpus else {"CPU": float(cores)}
    bundles = [{**held, **beside}] * workers
    return LLMConfig.model_validate(
        {
            "model_loading_config": {"model_id": model, "model_source": checkpoint},
            "engine_kwargs": engine,
            "accelerator_config": {"kind": "gpu" if gpus else "cpu"},
            "placement_group_config": {"bundles": bundles},
            "deployment_config": {
                "max_ongoing_requests": MOST_ONGOING,
                "max_constructor_retry_count": 1,
                "ray_actor_options": {"num_cpus": 0},
                "health_check_timeout_s": 60,
                **replicas,
            },
            "runtime_env": {"env_vars": variables},
            "experimental_configs": {"stream_batching_interval_ms": 0, "num_ingress_replicas": 1},
            "callback_config": {"callback_class": LeanReplica},
            "log_engine_metrics": False,
        }
    )


def wait(name: str, timeout_s: float) -> None:
    """Return once an application answers.

    Raises:
        RuntimeError: it failed to start (with the engine's own last words), or took too long.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        application = _applications().get(name)
        if application is not None and application.status == ApplicationStatus.RUNNING:
            return
        if application is not None and application.status == ApplicationStatus.DEPLOY_FAILED:
            told = [deployment.message for deployment in application.deployments.values()]
            raise RuntimeError(f"the server of {name} did not start: {_last_error([application.message, *told])}")
        time.sleep(_POLL_S)
    raise RuntimeError(f"the server of {name} did not answer within {timeout_s:g} s (serving.start_timeout_s)")


def _last_error(messages: list[str]) -> str:
    """The line of a traceback that names the error."""
    lines = [line.strip() for message in messages for line in message.splitlines()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line)]
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
