"""Asking a served model: one that does not answer, and one beside a proxy."""

import socket

import pytest
from fakes.openai_server import serve

from actors import asking


def test_reference_that_is_not_answered_says_how_much_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_PATIENCE_S", 1.0)
    expected = {"prompt_ids": [1, 2], "answer_ids": [3], "logprobs": [0.0] * 3, "answer": "x"}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(TimeoutError, match="3 tokens of its reference were not answered within 1 s"):
            asking.compare_with_reference(url, "model", [expected])


def test_get_asks_this_machine_itself_whatever_proxy_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server = serve("one", 0)
    try:
        assert asking.get(f"http://127.0.0.1:{server.server_address[1]}/health")[0] == 200
    finally:
        server.shutdown()
