"""The actor that serves variants: one Serve application each, and proof that none is left.

It runs in the `inference` environment and holds no device itself: the replicas do.
"""

import time
from typing import Any

from actors.artifacts import EngineSpec


class Server:
    """Deploys, checks and removes Serve applications; several may start at the same time."""

    def submit(self, spec: EngineSpec, node: str) -> None:
        """Ask for a variant's application. See `actors.engines.ray_serve.submit`."""
        from actors.engines import ray_serve

        ray_serve.submit(spec, node)

    def wait(self, name: str, timeout_s: float) -> tuple[str, float]:
        """Wait until an application's engine answers; return where, and the seconds that it took."""
        from actors.engines import ray_serve

        started = time.monotonic()
        return ray_serve.wait(name, timeout_s), time.monotonic() - started

    def url(self, name: str) -> str:
        """Where an application's engine answers now."""
        from actors.engines import ray_serve

        return ray_serve.url(name)

    def wrote(self, name: str, spans: list[tuple[float, float]]) -> list[str]:
        """What an application's engine wrote into its log inside each of some spans of time."""
        from actors.engines import ray_serve

        return ray_serve.wrote(name, spans)

    def gpus(self, name: str) -> tuple[str, ...]:
        """UUIDs of the GPUs that an application's engine has to itself, if they tell their energy."""
        from actors.engines import ray_serve

        return ray_serve.gpus(name)

    def remove(self, name: str) -> None:
        """Delete an application, where there is one."""
        from actors.engines import ray_serve

        ray_serve.remove(name)

    def applications(self, prefix: str) -> list[str]:
        """Names of the applications that begin with `prefix`."""
        from actors.engines import ray_serve

        return [name for name in ray_serve.applications() if name.startswith(prefix)]

    def offer(self, ingress: str, revision: str, spec: EngineSpec, settings: dict[str, Any]) -> None:
        """Ask for a revision of a deployment; see `actors.engines.serve_ingress.offer`."""
        from actors.engines import serve_ingress

        serve_ingress.offer(ingress, revision, spec, **settings)

    def direct(self, ingress: str, revision: str | None, settings: dict[str, Any]) -> None:
        """Make a revision the live one; see `actors.engines.serve_ingress.direct`."""
        from actors.engines import serve_ingress

        serve_ingress.direct(ingress, revision, **settings)

    def live(self, ingress: str) -> str | None:
        """The revision of a deployment that answers; None where there is none."""
        from actors.engines import serve_ingress

        return serve_ingress.live(ingress)

    def drain(self, ingress: str, revision: str, within_s: float) -> int:
        """Wait for the requests that a revision has under way; return how many are left at last."""
        from actors.engines import serve_ingress

        return serve_ingress.drain(ingress, revision, within_s)

    def close(self) -> None:
        """End Serve where no application is left."""
        from actors.engines import ray_serve

        ray_serve.close()
