"""Processes are found by the mark that they inherit, and provably end."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

from actors.placement import processes
from actors.programs.session import KEPT_MARK
from configs.base import REPOSITORY

SLEEPER = "print(1, flush=True); import time; time.sleep(60)"
CHILD_OF_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}])"


def start(mark: str) -> subprocess.Popen[str]:
    """A process with a child of its own, both marked; returns once the child runs."""
    environment = {**os.environ, processes.LEASE_MARK: mark}
    started = subprocess.Popen(
        [sys.executable, "-c", CHILD_OF_CHILD], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    started.stdout.readline()
    return started


def test_of_lease_finds_parent_and_child() -> None:
    mark = uuid.uuid4().hex
    started = start(mark)
    assert len(processes.of_lease(mark)) == 2
    assert processes.memory_bytes(processes.of_lease(mark)) > 1 << 20
    processes.end(mark, patience_s=0)
    started.wait()


def test_end_kills_the_child_that_outlives_its_parent() -> None:
    mark = uuid.uuid4().hex
    started = start(mark)
    started.kill()
    started.wait()
    assert len(processes.end(mark, patience_s=0.2)) == 1
    assert processes.of_lease(mark) == []


def test_end_kills_a_child_without_the_mark_in_the_session_of_a_marked_one() -> None:
    mark = uuid.uuid4().hex
    forgets = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}], env={{}})"
    started = subprocess.Popen(
        [sys.executable, "-c", forgets],
        env={**os.environ, processes.LEASE_MARK: mark},
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    started.stdout.readline()
    assert len(processes.of_lease(mark)) == 2
    assert len(processes.end(mark, patience_s=0)) == 2
    assert not [file for file in Path("/proc").glob("[0-9]*") if session(file) == started.pid]
    started.wait()


def test_end_kills_who_lost_mark_and_leader_under_a_keeper_and_nobody_else() -> None:
    """An engine with a title of its own, whose leader was killed. A shell that is gone leaves others its session."""
    for variables, ended in (({KEPT_MARK: "1"}, 2), ({}, 1)):
        mark = uuid.uuid4().hex
        forgets = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}], env={{}})"
        leads = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {forgets!r}])"
        leader = subprocess.Popen(
            [sys.executable, "-c", leads],
            env={**os.environ, processes.LEASE_MARK: mark, **variables},
            start_new_session=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert leader.stdout is not None
        leader.stdout.readline()
        leader.kill()
        leader.wait()
        assert len(processes.end(mark, patience_s=0)) == ended
        left = [int(file.name) for file in Path("/proc").glob("[0-9]*") if session(file) == leader.pid]
        assert len(left) == 2 - ended
        for process in left:
            os.kill(process, 9)


def session(file: Path) -> int | None:
    """The session of a process that runs, by its folder in /proc."""
    try:
        state, *numbers = (file / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(numbers[2])


def test_end_without_processes_kills_nothing() -> None:
    assert processes.end(uuid.uuid4().hex) == []


def test_keep_off_moves_threads_to_the_other_cores() -> None:
    cores = sorted(os.sched_getaffinity(0))
    mark = uuid.uuid4().hex
    started = start(mark)
    processes.keep_off(mark, cores[:1])
    assert os.sched_getaffinity(started.pid) == set(cores[1:] or cores)
    processes.end(mark, patience_s=0)
    started.wait()


def test_keep_on_moves_the_caller_and_its_lease() -> None:
    cores = os.sched_getaffinity(0)
    mark = uuid.uuid4().hex
    started = start(mark)
    wanted = {min(cores)}
    try:
        processes.keep_on(mark, list(wanted))
        assert os.sched_getaffinity(started.pid) == os.sched_getaffinity(0) == wanted
    finally:
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), cores)
        processes.end(mark, patience_s=0)
        started.wait()


def test_reaper_ends_what_a_killed_driver_left_running_and_keeps_its_logs(tmp_path: Path) -> None:
    run, folder, kept = uuid.uuid4().hex, tmp_path / "ray", tmp_path / "kept"
    (folder / "ray/session_1/logs").mkdir(parents=True)
    (folder / "ray/session_1/logs/raylet.out").write_text("its last words")
    program = f"""
import os, subprocess, sys, time
from pathlib import Path
from actors.placement import processes, reaper
forgets = [sys.executable, "-S", "-c", {SLEEPER!r}]
with reaper.watching_over({run!r}, Path({str(folder)!r}), Path({str(kept)!r})) as tell:
    marked = subprocess.Popen(forgets, env={{processes.RUN_MARK: {run!r}}}, stdout=subprocess.PIPE)
    unmarked = subprocess.Popen(forgets, env={{}}, stdout=subprocess.PIPE, start_new_session=True)
    marked.stdout.readline(), unmarked.stdout.readline()
    tell(unmarked.pid)
    print(marked.pid, unmarked.pid, flush=True)
    time.sleep(60)
"""
    driver = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    started = [int(word) for word in driver.stdout.readline().split()]
    assert len(started) == 2 and all(map(processes.alive, started))
    driver.kill()
    driver.wait()
    while any(map(processes.alive, started)) or folder.exists():  # no longer than this test may take
        time.sleep(0.05)
    assert (kept / "raylet.out").read_text() == "its last words"


def test_end_run_leaves_the_processes_of_another_run_alone() -> None:
    mine, other = uuid.uuid4().hex, uuid.uuid4().hex
    sleeping = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    stays = subprocess.Popen(sleeping, env={processes.RUN_MARK: other})
    goes = subprocess.Popen(sleeping, env={processes.RUN_MARK: mine})
    assert processes.end_run(mine, [], patience_s=0) == [goes.pid]
    assert processes.alive(stays.pid)
    assert processes.end_run(other, [], patience_s=0) == [stays.pid]
    goes.wait()
    stays.wait()
