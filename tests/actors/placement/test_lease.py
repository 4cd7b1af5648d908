"""What goes into the runtime environment of an actor, which Ray writes into its log."""

import json

import pytest

from actors.placement import lease


def test_actor_is_given_no_token_and_no_address_with_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "VLLM_API_KEY"):
        monkeypatch.setenv(name, "canary")
    for name in ("PIP_INDEX_URL", "HF_ENDPOINT", "http_proxy"):
        monkeypatch.setenv(name, "https://me:canary@example.org/simple")
    assert "canary" not in json.dumps(lease.runtime_env("Benchmarker", "mark", {}))


def test_actor_is_given_addresses_that_everybody_may_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://example.org")
    assert lease.passed_on()["HF_ENDPOINT"] == "https://example.org"
