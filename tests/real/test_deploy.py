"""Deploying the smoke run's INT8 variant with the real `vllm serve`, and telling it from the base."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from real_support import flows
from tests_support import free_port

from actors.placement import processes

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
SMOKE = "configs/experiments/smoke.yaml"


OPEN_IN_VLLM = (
    ("POST", "invocations"),
    ("POST", "tokenize"),
    ("POST", "detokenize"),
    ("POST", "scale_elastic_ep"),
    ("POST", "is_scaling_elastic_ep"),
    *(("GET", path) for path in ("docs", "redoc", "openapi.json", "metrics", "metrics/", "load", "version", "ping")),
    *(("GET", path) for path in ("v1/models", "server_info", "nothing", "")),
    ("OPTIONS", "v1/completions"),
    ("HEAD", "metrics"),
)


def test_deployed_int8_is_verified_and_is_not_taken_for_the_base(
    smoke_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "CANARY-deployment")
    folder = smoke_store / "experiments/smoke"
    deploying = flows("deploy", SMOKE, "--set", f"serving.port={free_port()}", store=smoke_store)
    try:
        assert deploying.returncode == 0, deploying.stdout[-3000:] + deploying.stderr[-3000:]
        deployed = json.loads((folder / "deployment.json").read_text())
        assert deployed["variant"] == "int8-w8a8"
        verification = json.loads((folder / "verification-int8-w8a8.json").read_text())
        assert {check["name"]: check["passed"] for check in verification["checks"]} == dict.fromkeys(
            ("health", "key", "model list", "completion", "chat", "streaming", "reference", "as benchmarked", "load"),
            True,
        )
        without = {f"{method} /{path}": status(method, f"{deployed['url']}/{path}") for method, path in OPEN_IN_VLLM}
        assert without == dict.fromkeys(without, 401)
        assert status("GET", f"{deployed['url']}/health") == 200
        assert status("GET", f"{deployed['url']}/metrics", "CANARY-deployment") == 200
        other = flows("verify", deployed["url"], "--experiment", SMOKE, "--variant", "base", store=smoke_store)
        assert other.returncode == 1, other.stdout[-3000:] + other.stderr[-3000:]
        looks = json.loads((folder / "verification-base.json").read_text())["checks"]
        assert [check["name"] for check in looks if check["passed"] is False] == ["reference"]
    finally:
        if (file := folder / "deployment.json").is_file():
            kept = json.loads(file.read_text())
            processes.end(kept["mark"], patience_s=0)
            assert not [one for one in psutil.process_iter() if lives_in(kept["process"], one)]


def status(method: str, url: str, key: str = "") -> int:
    asked = urllib.request.Request(url, method=method, headers={"Authorization": f"Bearer {key}"} if key else {})
    asked.data = b"{}" if method == "POST" else None
    asked.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(asked, timeout=30) as answered:
            found: int = answered.status
    except urllib.error.HTTPError as error:
        found = error.code
    return found


def lives_in(session: int, process: psutil.Process) -> bool:
    """Whether a process of that session runs; vLLM's engines give themselves titles, and lose the mark."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and os.getsid(process.pid) == session
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
