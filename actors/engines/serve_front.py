"""A deployment that can be replaced while it answers: a front with the public address, and engines behind it.

The front is the ingress that was benchmarked (Ray's own), so nothing stands between it and the engines that did not
stand there then. It asks one application of engines, a generation; which one is live is its Serve user configuration:
Serve keeps it, gives it to a front that starts again, and changes it without starting one again. Under
`/GENERATION/v1` it asks that one instead, for a verification before there is any traffic.
"""

import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from ray import serve
from ray.llm._internal.serve.core.configs.openai_api_models import ChatCompletionRequest, ModelCard
from ray.llm._internal.serve.core.ingress.ingress import DEFAULT_ENDPOINTS
from ray.llm._internal.serve.core.ingress.utils import _sanitize_chat_completion_request
from ray.llm._internal.serve.core.protocol import RawRequestInfo
from ray.serve.api import RunTarget
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.llm import build_llm_deployment
from ray.serve.llm.ingress import OpenAiIngress, make_fastapi_ingress

from actors.engines import ray_serve_llm
from actors.processes import LEASE_MARK

_VERSION = "1"
"""Of what the front does. Serve starts every front again where it changes, and none where only the live generation
does."""
_POLL_S = 0.2
_SERVER = "Engines"


class Front(OpenAiIngress):
    """Answers for one model by the generation that is live, or the one that a path names."""

    def __init__(self, name: str, model: str) -> None:
        super().__init__({}, {})
        card = ModelCard(id=model, object="model", owned_by="model-serve-flow", permission=[], metadata={})
        self._name, self._model_cards = name, {model: card}
        self._live: str | None = None
        self._handles: dict[str, DeploymentHandle[Any]] = {}
        self._asked: Counter[str] = Counter()

    def reconfigure(self, told: dict[str, Any]) -> None:
        """Serve calls it before the first request, and where another generation becomes the live one."""
        self._live = told["live"]
        self._handles = {name: handle for name, handle in self._handles.items() if name == self._live}

    async def live(self) -> str | None:
        return self._live

    async def under_way(self, generation: str) -> int:
        """Requests to a generation that have not ended."""
        return self._asked[generation]

    async def health(self, request: Request) -> dict[str, str]:
        generation = self._generation(request)
        try:
            await self._handle(generation).check_health.remote()
        except Exception as error:
            raise HTTPException(503, f"{generation}: {error}") from None
        return {"generation": generation}

    async def _get_response(
        self, *, body: Any, call_method: str, raw_request: Request | None = None
    ) -> AsyncGenerator[Any, None]:
        """What the parent does, for the generation that is asked."""
        await self._get_model_id(body.model)
        assert raw_request is not None, "every route hands it on"
        generation = self._generation(raw_request)
        handle = self._handle(generation).options(stream=True)
        if isinstance(body, ChatCompletionRequest):
            body = _sanitize_chat_completion_request(body)
        self._asked[generation] += 1
        try:
            told = RawRequestInfo.from_starlette_request(raw_request)
            async for response in getattr(handle, call_method).remote(body, told):
                yield response
        finally:
            self._asked[generation] -= 1

    def _generation(self, request: Request) -> str:
        found: str | None = request.path_params.get("generation", self._live)
        if found is None:
            raise HTTPException(503, "nothing is deployed here yet")
        return found

    def _handle(self, generation: str) -> DeploymentHandle[Any]:
        if generation not in self._handles:
            try:
                self._handles[generation] = serve.get_deployment_handle(_SERVER, app_name=f"{self._name}:{generation}")
            except RayServeException:
                raise HTTPException(404, f"there is no generation {generation!r}") from None
        return self._handles[generation]


def offer(
    front: str,
    generation: str,
    checkpoint: str,
    *,
    model: str,
    route: str,
    engine: dict[str, Any],
    variables: dict[str, str],
    marks: tuple[str, str],
    cores: int,
    gpus: float,
    replicas: dict[str, Any],
    fronts: int,
    host: str,
    port: int,
) -> str:
    """Ask for a generation, and for its front where there is none, without waiting; return Serve's address.

    Args:
        route: the front's path.
        marks: of the front's processes, and of the engines'.
        replicas: how many engines there are, and how they end: options of a Serve deployment.
        fronts: how many fronts there are.
    """
    address = ray_serve_llm.start(host, port)
    with ray_serve_llm.CONFIGURING:
        config = ray_serve_llm.engine_config(
            model,
            checkpoint,
            engine=engine,
            variables={**variables, LEASE_MARK: marks[1]},
            cores=cores,
            gpus=gpus,
            beside={},
            replicas=replicas,
        )
        engines = build_llm_deployment(config, override_serve_options={"name": _SERVER})
        targets = [RunTarget(engines, name=f"{front}:{generation}", route_prefix=None)]
        if front not in ray_serve_llm.applications():
            targets.append(_front(front, None, model=model, route=route, mark=marks[0], fronts=fronts))
        serve.run_many(targets, wait_for_applications_running=False)
    return address


def direct(front: str, generation: str | None, timeout_s: float, **settings: Any) -> None:
    """Make a generation the live one at every front; None for no one.

    Raises:
        RuntimeError: not all of them have heard of it in time.
    """
    with ray_serve_llm.CONFIGURING:
        serve.run_many([_front(front, generation, **settings)], wait_for_applications_running=False)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        heard = _ask(front, "live")
        if len(heard) >= settings["fronts"] and set(heard) == {generation}:
            return
        time.sleep(_POLL_S)
    raise RuntimeError(f"not every front of {front} turned to {generation} within {timeout_s:g} s")


def live(front: str, within_s: float = 60.0) -> str | None:
    """The live generation; None where there is none, or no front.

    Raises:
        RuntimeError: there is a front, and it does not say. What it might have live must not be ended then.
    """
    if front not in ray_serve_llm.applications():
        return None
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if heard := _ask(front, "live"):
            found: str | None = heard[0]
            return found
        time.sleep(_POLL_S)
    raise RuntimeError(f"{front} does not say within {within_s:g} s what is live behind it; see the logs of Serve")


def drain(front: str, generation: str, within_s: float) -> int:
    """Wait until no front has a request to a generation under way; return how many are left at last."""
    deadline = time.monotonic() + within_s
    while True:
        counted: list[int] = _ask(front, "under_way", generation)
        if (counted and not any(counted)) or time.monotonic() > deadline:
            return sum(counted)
        time.sleep(_POLL_S)


def _ask(front: str, method: str, *arguments: Any) -> list[Any]:
    """What every front answers that takes requests now; one that is being told of a change does not, for a moment."""
    try:
        found: list[Any] = serve.get_app_handle(front).broadcast(method, *arguments).results(timeout_s=60)
    except DeploymentUnavailableError:
        return []
    return found


def _front(front: str, live: str | None, *, model: str, route: str, mark: str, fronts: int) -> RunTarget:
    answering = make_fastapi_ingress(Front, endpoint_map=_endpoints())
    deployment: Any = serve.deployment(
        answering,
        name="Front",
        num_replicas=fronts,
        max_ongoing_requests=ray_serve_llm.MOST_ONGOING,
        user_config={"live": live},
        graceful_shutdown_timeout_s=5,
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": {LEASE_MARK: mark}}},
    )
    # Without a version of its own Serve would draw one, and start the front again at every change.
    versioned = deployment.options(version=_VERSION, _internal=True)
    return RunTarget(versioned.bind(front, model), name=front, route_prefix=route)


def _endpoints() -> dict[str, Callable[[FastAPI], Callable[..., Any]]]:
    """Ray's own, and a health, each also under a generation's name."""

    def health(app: Any) -> Callable[..., Any]:
        return app.get("/health")  # type: ignore[no-any-return]

    return {name: _twice(route) for name, route in {**DEFAULT_ENDPOINTS, "health": health}.items()}


def _twice(route: Callable[[Any], Callable[..., Any]]) -> Callable[[FastAPI], Callable[..., Any]]:
    """A route that answers under its own path, and under a generation's."""

    def decorator(app: FastAPI) -> Callable[..., Any]:
        def decorate(method: Any) -> Any:
            return route(app)(route(_Prefixed(app))(method))

        return decorate

    return decorator


class _Prefixed:
    """An app whose routes lie under a generation."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def get(self, path: str, **options: Any) -> Any:
        return self._app.get(f"/{{generation}}{path}", **options)

    def post(self, path: str, **options: Any) -> Any:
        return self._app.post(f"/{{generation}}{path}", **options)
