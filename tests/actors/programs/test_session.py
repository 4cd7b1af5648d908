"""A command under a keeper ends with whoever started it, with all that it started itself."""

import os
import subprocess
import sys
import time
from pathlib import Path

from actors.placement import processes
from actors.programs.session import Session
from configs.base import REPOSITORY

MARK = "session-of-a-test"
CHILD = "import time; print('up', flush=True); time.sleep(600)"
COMMAND = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"]
STARTER = f"""
import os, time
from pathlib import Path
from actors.programs.session import Session
log = open(os.environ["LOG"], "w")
held = Session({COMMAND!r}, variables=os.environ, folder=Path("/"), log=log)
time.sleep(600)
"""


def variables(log: Path) -> dict[str, str]:
    return {**os.environ, processes.LEASE_MARK: MARK, "LOG": str(log), "PYTHONPATH": str(REPOSITORY)}


def await_text(log: Path) -> None:
    deadline = time.monotonic() + 60
    while not (log.is_file() and "up" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def left(deadline_s: float = 30.0) -> list[int]:
    """Processes with the mark, as soon as there are none, or after the deadline."""
    deadline = time.monotonic() + deadline_s
    while (found := processes.of_lease(MARK)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_session_whose_starter_is_killed_ends_with_its_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    starter = subprocess.Popen([sys.executable, "-c", STARTER], env=variables(log))
    await_text(log)
    assert len(processes.of_lease(MARK)) == 5  # starter, who waits, keeper, command and its child
    starter.kill()
    starter.wait()
    assert left() == []


def test_session_ends_where_its_starter_is_killed_with_its_children(tmp_path: Path) -> None:
    """As Ray kills a worker, and with it the processes that it started itself."""
    log = tmp_path / "log"
    starter = subprocess.Popen([sys.executable, "-c", STARTER], env=variables(log))
    await_text(log)
    children = [int(pid) for pid in Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()]
    assert len(children) == 1
    for process in (*children, starter.pid):
        os.kill(process, 9)
    starter.wait()
    assert left() == []


def test_session_whose_command_is_killed_leaves_no_child(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        session = Session(COMMAND, variables=variables(log), folder=tmp_path, log=output)
    await_text(log)
    assert session.status is None
    _, keeper, command, _ = processes.of_lease(MARK)
    assert command > keeper
    os.kill(command, 9)
    assert left() == []
    assert session.status == 128 + 9


def test_session_that_is_ended_is_gone_when_that_returns(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        session = Session(COMMAND, variables=variables(log), folder=tmp_path, log=output)
    await_text(log)
    session.end()
    assert processes.of_lease(MARK) == []
    assert session.status == 128 + 15


def test_session_reports_the_status_of_its_command(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as output:
        command = [sys.executable, "-c", "raise SystemExit(3)"]
        session = Session(command, variables=dict(os.environ), folder=tmp_path, log=output)
    deadline = time.monotonic() + 60
    while session.status is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert session.status == 3
