"""A run that is told to stop ends cleanly, and says how it goes on."""

import signal
import time
from pathlib import Path

import mlflow
import pytest
from faults.flow_on_fakes import Flow

from flows.__main__ import INTERRUPTED


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_run_that_is_told_to_stop_says_how_to_go_on(asked: signal.Signals, tmp_path: Path) -> None:
    # A shell's background job ignores it, and so would all below.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    flow = Flow(tmp_path / "run", seconds=2)
    running = flow.start()
    try:
        while not flow.begun and running.poll() is None:
            time.sleep(0.1)
        running.send_signal(asked)
        assert running.wait(60) == INTERRUPTED
    finally:
        if running.poll() is None:
            running.kill()
    said = (flow.folder / "out").read_text()
    assert said.splitlines()[-1] == "stopped; what was finished is kept: the same command goes on from there"
    assert "Traceback" not in said and "SIGTERM received" not in said
    mark = f"FAULTS_FOLDER={flow.folder}".encode()
    assert not [file for file in Path("/proc").glob("[0-9]*/environ") if mark in content(file)]
    mlflow.set_tracking_uri(f"sqlite:///{flow.store / 'mlflow.db'}")
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert [run.info.status for run in runs] == ["FAILED"]


def content(file: Path) -> bytes:
    """Of a file of a process that may end meanwhile, or be somebody else's."""
    try:
        return file.read_bytes()
    except OSError:
        return b""
