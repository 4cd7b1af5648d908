"""Who the middleware lets through to an application that answers everybody."""

import asyncio
from typing import Any

import pytest

from actors.programs.guard.key_guard import KeyGuard

pytestmark = pytest.mark.fast
PATHS = (
    "/",
    "/v1/models",
    "/metrics",
    "/metrics/",
    "/docs",
    "/tokenize",
    "/invocations",
    "/ping",
    "/health/",
    "//health",
)


async def open_to_all(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})


def told(path: str, *headers: tuple[bytes, bytes], kind: str = "http", method: str = "GET") -> list[Any]:
    """What a client is sent."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": f"{kind}.connect"}

    scope = {"type": kind, "path": path, "method": method, "headers": list(headers)}
    asyncio.run(KeyGuard(open_to_all)(scope, receive, send))
    return sent


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sesame\n")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "header",
    [None, b"", b"sesame", b"Bearer", b"Bearer sesam", b"Bearer sesame2", b"Basic sesame", b"Bearer \xff"],
)
def test_path_is_closed_to_who_does_not_know_the_key(path: str, header: bytes | None) -> None:
    (begin, end) = told(path, *([] if header is None else [(b"authorization", header)]))
    assert (begin["status"], end["body"]) == (401, b"")


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "POST"])
def test_no_method_is_a_way_around(method: str) -> None:
    assert told("/v1/completions", method=method)[0]["status"] == 401


@pytest.mark.parametrize("header", [b"Bearer sesame", b"bearer sesame", b"Bearer  sesame "])
def test_key_opens_every_path(header: bytes) -> None:
    assert [told(path, (b"authorization", header))[0]["status"] for path in PATHS] == [200] * len(PATHS)


def test_health_is_told_to_everybody() -> None:
    assert told("/health")[0]["status"] == 200


def test_socket_without_the_key_is_closed_before_it_opens() -> None:
    assert told("/v1/realtime", kind="websocket") == [{"type": "websocket.close", "code": 1008}]


def test_start_and_end_of_the_server_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def application(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(KeyGuard(application)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]


@pytest.mark.parametrize("key", ["", " \n"])
def test_server_without_a_key_does_not_start(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", key)
    with pytest.raises(SystemExit, match="VLLM_API_KEY: missing"):
        KeyGuard(open_to_all)
