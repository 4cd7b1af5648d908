"""A run that is told to stop, or whose processes are killed, leaves nothing behind, and says how it goes on."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from faults.flow_on_fakes import REPOSITORY, Flow

from flows.cli import FAILED
from flows.interruption import INTERRUPTED, STOPPED


@contextlib.contextmanager
def under_way(folder: Path) -> Iterator[tuple[Flow, "subprocess.Popen[bytes]"]]:
    """A run with an engine call under way, in a session of its own."""
    # A shell's background job ignores it, and so would all below.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    flow = Flow(folder / "run", seconds=2)
    with (flow.folder / "out").open("wb") as out:
        running = subprocess.Popen(
            flow.command, cwd=REPOSITORY, env=flow.environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        while not flow.begun and running.poll() is None:
            time.sleep(0.1)
        yield flow, running
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_group_of_a_run_that_is_told_to_stop_ends_in_order(asked: signal.Signals, tmp_path: Path) -> None:
    with under_way(tmp_path) as (flow, running):
        os.killpg(running.pid, asked)
        os.killpg(running.pid, asked)  # as `timeout` does, which tells the command, then the group
        assert running.wait(60) == INTERRUPTED
    said = (flow.folder / "out").read_text()
    assert said.splitlines()[-1] == STOPPED
    assert "Traceback" not in said and "SIGTERM received" not in said
    assert not marked(flow)
    mlflow.set_tracking_uri(f"sqlite:///{flow.store / 'mlflow.db'}")
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert [run.info.status for run in runs] in (["FAILED"], ["RUNNING"]), "closed, unless it took too long"


@pytest.mark.parametrize("victim", ["raylet/raylet", "gcs/gcs_server"])
def test_run_whose_ray_is_killed_fails_with_a_line_and_leaves_nothing(victim: str, tmp_path: Path) -> None:
    with under_way(tmp_path) as (flow, running):
        (found,) = [process for process in marked(flow) if victim in command(process)]
        os.kill(found, signal.SIGKILL)
        assert running.wait(60) == FAILED
    lines = (flow.folder / "out").read_text().splitlines()
    assert [line for line in lines if line.startswith("error: Ray's ") and f"(process {found}) has died" in line]
    assert not marked(flow)


def test_run_whose_driver_is_killed_leaves_nothing(tmp_path: Path) -> None:
    with under_way(tmp_path) as (flow, running):
        running.kill()
        running.wait()
        while marked(flow):  # no longer than this test may take
            time.sleep(0.1)


def marked(flow: Flow) -> list[int]:
    """Ids of the run's processes."""
    mark = f"MSF_FAULTS_FOLDER={flow.folder}".encode()
    return [int(file.parent.name) for file in Path("/proc").glob("[0-9]*/environ") if mark in content(file)]


def command(process: int) -> str:
    return content(Path(f"/proc/{process}/cmdline")).decode()


def content(file: Path) -> bytes:
    """Of a file of a process that may end meanwhile, or be somebody else's."""
    try:
        return file.read_bytes()
    except OSError:
        return b""
