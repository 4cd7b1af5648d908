"""The actor that serves variants: one Serve application each, and proof that none is left.

It runs in the `inference` environment and holds no device itself: the replicas do.
"""

import threading
import time
from typing import Any

from actors import asking


class Server:
    """Deploys, checks and removes Serve applications; several may start at the same time.

    Their building is done one at a time: two builders at once race inside Ray's registry.
    """

    def __init__(self) -> None:
        self._building = threading.Lock()

    def warm_up(self) -> None:
        """Import what building needs: 9 s, which can pass while there is nothing to serve yet."""
        with self._building:
            from actors.engines import ray_serve_llm  # noqa: F401

    def submit(self, name: str, checkpoint: str, lease: str, settings: dict[str, Any]) -> str:
        """Ask for a variant's application; return the address that Serve listens on. See
        `actors.engines.ray_serve_llm.submit`."""
        with self._building:
            from actors.engines import ray_serve_llm

            return ray_serve_llm.submit(name, checkpoint, lease=lease, **settings)

    def wait(self, name: str, timeout_s: float) -> float:
        """Wait until an application answers; return the seconds that it took."""
        from actors.engines import ray_serve_llm

        started = time.monotonic()
        ray_serve_llm.wait(name, timeout_s)
        return time.monotonic() - started

    def remove(self, name: str) -> None:
        """Delete an application, where there is one."""
        from actors.engines import ray_serve_llm

        ray_serve_llm.remove(name)

    def applications(self, prefix: str) -> list[str]:
        """Names of the applications that begin with `prefix`."""
        from actors.engines import ray_serve_llm

        return [name for name in ray_serve_llm.applications() if name.startswith(prefix)]

    def offer(self, front: str, generation: str, checkpoint: str, settings: dict[str, Any]) -> str:
        """Ask for a generation of a deployment; return Serve's address. See `actors.engines.serve_front.offer`."""
        with self._building:
            from actors.engines import serve_front

            return serve_front.offer(front, generation, checkpoint, **settings)

    def direct(self, front: str, generation: str | None, settings: dict[str, Any]) -> None:
        """Make a generation the live one; see `actors.engines.serve_front.direct`."""
        with self._building:
            from actors.engines import serve_front

            serve_front.direct(front, generation, **settings)

    def live(self, front: str) -> str | None:
        """The generation of a deployment that answers; None where there is none."""
        from actors.engines import serve_front

        return serve_front.live(front)

    def drain(self, front: str, generation: str, within_s: float) -> int:
        """Wait for the requests that a generation has under way; return how many are left at last."""
        from actors.engines import serve_front

        return serve_front.drain(front, generation, within_s)

    def close(self) -> None:
        """End Serve where no application is left."""
        from actors.engines import ray_serve_llm

        ray_serve_llm.close()

    def exercise(self, url: str, model: str, at_once: int) -> None:
        """Have so many answers made at once; see `actors.asking.exercise`."""
        asking.exercise(url, model, at_once)

    def compare_with_reference(self, url: str, model: str, reference: list[dict[str, Any]]) -> dict[str, Any]:
        """How far the served variant is from its reference; see `actors.asking.compare_with_reference`."""
        return asking.compare_with_reference(url, model, reference)
