"""The load generator's processes and windows, with a fake engine."""

import os
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import actors.engines
from actors import benchmarker
from actors.artifacts import Window
from actors.benchmarker import Benchmarker
from actors.placement import processes


def benchmark(
    cores: list[int], folder: Path, monkeypatch: pytest.MonkeyPatch, moved: list[Any], **settings: Any
) -> list[Window]:
    """One benchmark of two points by an engine that does nothing."""
    fake = ModuleType("guidellm")
    fake.benchmark = lambda **_: [(10.0, 14.0), (20.0, 24.5)]  # type: ignore[attr-defined]
    monkeypatch.setattr(actors.engines, "guidellm", fake, raising=False)
    monkeypatch.setattr(processes, "keep_on", lambda _lease, cores: moved.append(cores))
    monkeypatch.setenv(processes.LEASE_MARK, uuid.uuid4().hex)
    monkeypatch.setenv("GUIDELLM__MP_CONTEXT_TYPE", "")
    return Benchmarker().benchmark(cores=cores, destination=str(folder), **settings)


@pytest.mark.parametrize(
    ("cores", "allowed", "workers"),
    [([1], 16, "1"), ([2, 3], 16, "2"), ([], 2, "2"), ([], 6, "6"), ([], 128, "10")],
)
def test_workers_grow_with_the_cores_up_to_a_limit(
    cores: list[int], allowed: int, workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(allowed)))
    monkeypatch.setenv("GUIDELLM__MAX_WORKER_PROCESSES", "")
    moved: list[Any] = []
    benchmark(cores, tmp_path, monkeypatch, moved)
    assert os.environ["GUIDELLM__MAX_WORKER_PROCESSES"] == workers
    assert moved == ([cores] if cores else [])


def test_every_point_has_its_window_and_the_clients_share_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarker.cpu_time.CpuTime, "share", lambda _self, start, end: (end - start) / 10)
    windows = benchmark([0], tmp_path, monkeypatch, [])
    assert windows == [Window(10.0, 14.0, 0.4), Window(20.0, 24.5, 0.45)]
    assert [window.seconds for window in windows] == [4.0, 4.5]


def test_energy_is_that_of_the_engine_s_gpus_in_every_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("nvml")
    fake.energy_j = lambda gpus: 100.0 * len(gpus)  # type: ignore[attr-defined]
    monkeypatch.setattr(actors.engines, "nvml", fake, raising=False)
    monkeypatch.setattr(benchmarker.energy.Energy, "joules", lambda self, start, end: self.looks[0][1] * (end - start))
    windows = benchmark([0], tmp_path, monkeypatch, [], gpus=("GPU-0", "GPU-1"))
    assert [window.energy_j for window in windows] == [800.0, 900.0]


def test_energy_of_an_engine_without_gpus_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [window.energy_j for window in benchmark([0], tmp_path, monkeypatch, [])] == [None, None]
    assert Benchmarker().idle_power_w(()) is None
