"""The Ray that a run starts for itself: who can reach it, who can read it, and what stays of it."""

import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from faults.flow_on_fakes import REPOSITORY, Flow

from actors import environments
from flows import own_ray

LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was seen of a run while an engine worked, and after it was told to stop. It was asked for no token."""
    flow = Flow(tmp_path_factory.mktemp("own_ray") / "run", seconds=2)
    temporary = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    built = environments.interpreter("driver").parents[2]
    environment = {**flow.environment, "HOME": str(flow.folder), "MSF_ENVIRONMENTS": str(built)}
    environment |= {"TMPDIR": str(temporary), "RAY_AUTH_MODE": "disabled"}
    environment.pop("RAY_AUTH_TOKEN", None)
    with (flow.folder / "out").open("wb") as out:
        running = subprocess.Popen(
            flow.command, cwd=REPOSITORY, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    while not flow.begun and running.poll() is None:
        time.sleep(0.1)
    everybody = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
    seen = {
        "listeners": [found for process in everybody for found in listeners(process)],
        "folders": {path: stat.S_IMODE(path.stat().st_mode) for path in temporary.glob("msf-*")},
        "token modes": {token_mode(process) for process in everybody if "raylet/raylet" in " ".join(cmdline(process))},
    }
    running.send_signal(signal.SIGTERM)
    running.wait(60)
    left = list(temporary.iterdir())
    shutil.rmtree(temporary)
    return {**seen, "flow": flow, "left": left, "said": (flow.folder / "out").read_text()}


def listeners(process: psutil.Process) -> list[tuple[str, str]]:
    """Name of a process, and each address that it listens on."""
    try:
        name, found = process.name(), process.net_connections(kind="inet")
    except psutil.Error:
        return []
    return [(name, connection.laddr.ip) for connection in found if connection.status == psutil.CONN_LISTEN]


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def token_mode(process: psutil.Process) -> str | None:
    return process.environ().get("RAY_AUTH_MODE")


def test_run_listens_on_loopback_alone(run: dict[str, Any]) -> None:
    assert {"raylet", "gcs_server"} <= {name for name, _ in run["listeners"]}
    assert [found for found in run["listeners"] if found[1] not in LOOPBACK] == []


def test_run_asks_for_a_token_of_its_own_that_is_in_no_file(run: dict[str, Any]) -> None:
    assert run["token modes"] == {"token"}
    assert not (run["flow"].folder / ".ray").exists()


def test_run_has_one_folder_that_nobody_else_can_read_and_takes_it_away(run: dict[str, Any]) -> None:
    assert list(run["folders"].values()) == [0o700]
    assert run["left"] == []


def test_run_keeps_the_logs_of_its_ray(run: dict[str, Any]) -> None:
    kept: Path = run["flow"].store / "experiments/faults/logs/ray"
    assert (kept / "raylet.out").is_file()
    assert f"moved to {kept} at the end" in " ".join(run["said"].split())


def test_run_leaves_the_environment_of_its_driver_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_ray.ray, "init", lambda **_: None)
    monkeypatch.setattr(own_ray.ray, "shutdown", lambda: None)
    before = dict(os.environ)
    with own_ray.up({}, None):
        pass
    changed = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}
    assert changed <= {"RAY_AUTH_TOKEN", "RAY_AUTH_MODE"}


@pytest.mark.parametrize("object_store", [False, True])
def test_ray_has_of_the_environment_only_what_its_processes_may_need(
    object_store: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}
    monkeypatch.setattr(own_ray.ray, "init", lambda **_: seen.update(os.environ))
    monkeypatch.setattr(own_ray.ray, "shutdown", lambda: None)
    withheld = {"OPENAI_API_KEY", "GITHUB_TOKEN", "MLFLOW_TRACKING_PASSWORD", "VLLM_API_KEY", "ANYTHING_ELSE"}
    passed = {"HF_TOKEN", "PIP_INDEX_URL", "https_proxy", "CUDA_VISIBLE_DEVICES", "MSF_FAKE_SECONDS", "HOME"}
    for name in {*withheld, *passed, "AWS_SECRET_ACCESS_KEY"} - {"HOME"}:
        monkeypatch.setenv(name, "x")
    before = dict(os.environ)
    with own_ray.up({}, None, object_store=object_store):
        pass
    assert not withheld & seen.keys()
    assert passed <= seen.keys()
    assert ("AWS_SECRET_ACCESS_KEY" in seen) is object_store
    assert all(os.environ[name] == before[name] for name in withheld), "the driver has them again"
