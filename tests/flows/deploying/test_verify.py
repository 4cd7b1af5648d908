"""What a verification finds at an address, with a fake server that has one fault at a time."""

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests_support import free_port

from configs.base import REPOSITORY
from configs.loading import load_experiment
from flows.analysis.judgement import Estimate, Point
from flows.cli import BAD_INPUT, FAILED, _state, main
from flows.deploying import candidate, verify

pytestmark = pytest.mark.usefixtures("fake_engines")


def fake_server() -> ModuleType:
    spec = importlib.util.spec_from_file_location("openai_server", REPOSITORY / "tests/fakes/openai_server.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def served(model: str, fault: str = "", key: str = "") -> Iterator[str]:
    port = free_port()
    server = fake_server().serve(model, port, fault, key)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.shutdown()


FAULTS = {
    "unhealthy": ("health", "status 503"),
    "nameless": ("model list", "one, another"),
    "cut": ("streaming", "no end"),
    "wrong": ("reference", "served wrongly"),
    "others": ("as benchmarked", "0 of 1 answers are the same"),
}


def test_verification_finds_every_fault_and_says_which(decided: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = candidate.choose(_state(load_experiment(decided)), None)
    for fault, (name, words) in FAULTS.items():
        with served(found.model, fault) as url:
            seen = verify.verify(url, found)
        failed = [check for check in seen.checks if check.passed is False]
        assert [check.name for check in failed] == [name], fault
        assert words in failed[0].found
        assert seen.checks[-1].passed is None, "no load on a model that is wrong"
        assert not seen.passed
    with served("a name of the user's own") as url:
        assert verify.verify(url, found).model == "a name of the user's own"
        slow = {"requests": 9, "errors": 0, "output_tokens_per_second": 1.0, "ttft_p50_ms": 5.0}
        monkeypatch.setattr(verify, "_short_load", lambda *_: slow)
        assert "load: 1 tokens/s (benchmark" in verify.verify(url, found).failures
    assert verify.verify(url, found).failures.startswith("health: URLError"), "nobody is there any more"


@pytest.mark.parametrize(
    ("fault", "asked_for", "words"),
    [
        ("open", "sesame", "answers without the key at /metrics (200), /docs (200), "),
        ("", "", "answers without the key at /v1/models (200), "),
    ],
)
def test_server_that_answers_without_the_key_fails(
    decided: Path, monkeypatch: pytest.MonkeyPatch, fault: str, asked_for: str, words: str
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sesame\n")
    found = candidate.choose(_state(load_experiment(decided)), None)
    with served(found.model, fault, asked_for) as url:
        seen = verify.verify(url, found)
    assert not seen.passed
    assert seen.failures.startswith(f"key: {words}")
    assert "sesame" not in json.dumps(seen.to_json())


def test_server_that_is_closed_is_verified_with_the_key(decided: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sesame\n")
    found = candidate.choose(_state(load_experiment(decided)), None)
    with served(found.model, key="sesame") as url:
        seen = verify.verify(url, found)
    assert seen.passed, seen.failures
    assert [check.found for check in seen.checks if check.name == "key"] == ["11 paths refused without the key"]


def test_verify_command_says_what_is_wrong_and_keeps_it(decided: Path, capfd: Any) -> None:
    capfd.readouterr()
    with served("tiny-fp8-dynamic", "wrong") as url:
        assert main(["verify", url, "--experiment", str(decided)]) == FAILED
    assert "FAIL" in capfd.readouterr().out
    kept = json.loads((decided.parent / "store/experiments/tiny/verification-fp8-dynamic.json").read_text())
    assert not kept["passed"]
    assert main(["verify", "localhost:8000", "--experiment", str(decided)]) == BAD_INPUT
    assert "is not an address" in capfd.readouterr().err


def test_key_that_no_header_can_hold_is_refused_and_not_repeated(
    decided: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    for wrong in ("CAN\nARY", "CAN ARY", "CANÄRY"):
        monkeypatch.setenv("VLLM_API_KEY", wrong)
        assert main(["verify", "http://127.0.0.1:1", "--experiment", str(decided)]) == BAD_INPUT
        told = capfd.readouterr().err
        assert "VLLM_API_KEY: contains a character that is not allowed in a key" in told
        assert "ARY" not in told.replace("VLLM_API_KEY", "")


def point(asked: float, speed: float, *, labels: tuple[str, ...] = ()) -> Point:
    return Point(asked, "streams", 3, {"output_tokens_per_second": Estimate(speed, None, None)}, labels, ())


@pytest.mark.parametrize(("objective", "asked"), [("throughput", 2.0), ("ttft", 1.0)])
def test_point_of_the_load_is_the_one_that_the_objective_is_taken_at(objective: Any, asked: float) -> None:
    points = (point(1.0, 10.0), point(2.0, 20.0), point(4.0, 30.0, labels=("saturated",)))
    judged = type("Judged", (), {"points": points, "capacity": None})
    assert candidate.point_of(judged, objective).asked == asked  # type: ignore[arg-type]
