"""How near processes come to what they can do, from what the kernel counted of them."""

import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from actors.programs import cpu_time
from actors.programs.cpu_time import CpuTime


def looks(*seen: tuple[float, dict[int, tuple[float, float]]], cores: int = 4) -> CpuTime:
    """What was seen, by moments: of every process seconds of computing and of waiting for a core."""
    used = [(at, {process: cpu_time._Used(*both) for process, both in found.items()}) for at, found in seen]
    return CpuTime(cores, used)


def test_share_is_that_of_the_busiest_process_inside_the_window() -> None:
    found = looks(
        (0.0, {1: (0.0, 0.0), 2: (0.0, 0.0)}),
        (10.0, {1: (9.0, 0.0), 2: (1.0, 0.0)}),
        (20.0, {1: (11.0, 0.0), 2: (8.0, 0.0)}),
        (30.0, {1: (21.0, 0.0), 2: (8.0, 0.0)}),
    )
    assert found.share(9.0, 21.0) == pytest.approx(0.7)
    assert found.share(0.0, 30.0) == pytest.approx(0.7)


def test_process_that_waits_for_a_core_is_busy_too() -> None:
    assert looks((0.0, {1: (0.0, 0.0)}), (10.0, {1: (3.0, 6.0)})).share(0.0, 10.0) == pytest.approx(0.9)


def test_processes_that_fill_their_cores_together_are_at_their_limit() -> None:
    both: Any = ((0.0, {1: (0.0, 0.0), 2: (0.0, 0.0)}), (10.0, {1: (5.0, 0.0), 2: (5.0, 0.0)}))
    assert looks(*both, cores=1).share(0.0, 10.0) == pytest.approx(1.0)
    assert looks(*both, cores=2).share(0.0, 10.0) == pytest.approx(0.5)


def test_process_that_begins_or_ends_inside_the_window_is_left_out() -> None:
    found = looks((0.0, {1: (0.0, 0.0), 2: (0.0, 0.0)}), (10.0, {1: (2.0, 0.0), 3: (9.0, 0.0)}))
    assert found.share(0.0, 10.0) == pytest.approx(0.2)


def test_share_leaves_out_whoever_reads_no_clock() -> None:
    maker = cpu_time._Used(10.0, 0.0, reads_the_clock=False)
    begun = cpu_time._Used(0.0, 0.0)
    seen = [(0.0, {1: begun, 2: begun}), (10.0, {1: cpu_time._Used(3.0, 0.0), 2: maker})]
    assert cpu_time.CpuTime(16, seen).share(0.0, 10.0) == pytest.approx(0.3)


def test_window_that_is_too_short_for_two_looks_has_no_share() -> None:
    found = looks((0.0, {1: (0.0, 0.0)}), (10.0, {1: (2.0, 0.0)}))
    assert found.share(5.0, 10.0) is None
    assert CpuTime(1).share(0.0, 10.0) is None


def test_processes_below_a_process_are_seen_with_it() -> None:
    sleeper = "print(1, flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleeper!r}])"
    started = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    started.stdout.readline()
    assert len(cpu_time._used({started.pid})) == 2
    assert {os.getpid(), started.pid} < set(cpu_time._used({os.getpid()}))
    started.communicate("\n")


def test_watching_ends_with_its_block() -> None:
    before = threading.active_count()
    with cpu_time.watched() as found:
        while len(found.looks) < 2:
            pass
    assert threading.active_count() == before
    assert all(os.getpid() in used for _, used in found.looks)
