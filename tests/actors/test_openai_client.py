"""Asking a served model: one that does not answer, and one beside a proxy."""

import http.server
import socket
import threading
import urllib.error
from typing import Any

import pytest
from fakes.openai_server import serve

from actors import openai_client
from actors.artifacts import AnswerPair, ReferenceAnswer


def test_reference_that_is_not_answered_says_how_much_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "_PATIENCE_S", 1.0)
    expected = ReferenceAnswer((1, 2), (3,), "x", (0.0, 0.0, 0.0))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(TimeoutError, match="3 tokens of its reference were not answered within 1 s"):
            openai_client.compare_with_reference(url, "model", [expected])


def test_comparison_says_all_of_how_to_sample_and_names_tokens_by_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a server would add the penalties of the model's generation_config.json, and tokens without a text be one."""
    bodies: list[dict[str, Any]] = []

    def ask(_url: str, body: dict[str, Any], _key: str | None) -> dict[str, Any]:
        bodies.append(body)
        count = len(body["prompt"]) + 1 if body["echo"] else body["max_tokens"]
        names = [f"token_id:{place}" for place in range(count)]
        logprobs = {
            "tokens": names,
            "token_logprobs": [None] + [-1.0] * (count - 1),
            "top_logprobs": [{name: -1.0} for name in names],
        }
        return {"choices": [{"text": "Paris", "logprobs": logprobs}]}

    monkeypatch.setattr(openai_client, "ask", ask)
    expected = ReferenceAnswer((1, 2), (3,), "Paris", (None, -1.0, -1.0))
    found = openai_client.compare_with_reference("http://x/v1", "model", [expected])
    assert found.answers == (AnswerPair("Paris", "Paris"),)
    for body in bodies:
        assert (body["repetition_penalty"], body["top_p"], body["top_k"], body["min_p"]) == (1.0, 1.0, 0, 0.0)
        assert body["return_tokens_as_token_ids"]


def test_get_asks_this_machine_itself_whatever_proxy_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server = serve("one", 0)
    try:
        assert openai_client.get(f"http://127.0.0.1:{server.server_address[1]}/health")[0] == 200
    finally:
        server.shutdown()


class SendsElsewhere(http.server.BaseHTTPRequestHandler):
    """Every request is sent on to a path that writes down the key that comes there."""

    keys: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        if self.path == "/elsewhere":
            self.keys.append(self.headers.get("Authorization"))
        self.send_response(302)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


def test_key_follows_no_server_that_sends_elsewhere() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SendsElsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert openai_client.get(f"{url}/v1/models", key="canary")[0] == 302
        with pytest.raises(urllib.error.HTTPError, match="302"):
            openai_client.ask(f"{url}/v1/completions", {}, "canary")
        server.shutdown()
    assert SendsElsewhere.keys == []
