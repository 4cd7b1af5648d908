"""Asking a served model that does not answer."""

import socket

import pytest

from actors import asking


def test_reference_that_is_not_answered_says_how_much_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_PATIENCE_S", 1.0)
    expected = {"prompt_ids": [1, 2], "answer_ids": [3], "logprobs": [0.0] * 3, "answer": "x"}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(TimeoutError, match="3 tokens of its reference were not answered within 1 s"):
            asking.compare_with_reference(url, "model", [expected])
