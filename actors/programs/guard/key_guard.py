"""The middleware with which vLLM asks for its key on every path but /health; its own asks below /v1 and a few others.

vLLM imports it by name (`--middleware`) from the one folder that its PYTHONPATH names, so that nothing else of this
project is in its way. It comes before all of vLLM's own. Standard library only.
"""

import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = "/health"
"""A service manager and a load balancer ask it, and it tells nothing but that the engine lives."""


class KeyGuard:
    """An ASGI application in front of another, which answers 401 to whoever does not know the key."""

    def __init__(self, app: App) -> None:
        """Read the key.

        Raises:
            SystemExit: there is none, so that no server starts that answers everybody.
        """
        self._app = app
        self._key = os.environ.get("VLLM_API_KEY", "").strip().encode()
        if not self._key:
            raise SystemExit("VLLM_API_KEY: missing; set it, or serve without --middleware")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        if scope["type"] == "lifespan" or scope["path"] == _OPEN or self._is_known(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"www-authenticate", b"Bearer"), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    def _is_known(self, scope: Scope) -> bool:
        """Whether a request has the key, compared in constant time."""
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = given.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(key.strip(), self._key)
