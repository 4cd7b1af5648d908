"""Which GPUs tell their energy, and how much, with a driver that is made up."""

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest

from actors import environments
from configs.base import REPOSITORY

GPUS = {"GPU-aa11": 5_000_000, "GPU-ab22": 7_500_000, "GPU-old0": None, "GPU-mig0": 9_000_000}
"""Millijoules by UUID; one is too old to count them, one is divided."""


class DriverError(Exception):
    """What NVML raises."""


def of_index(place: int) -> str:
    if place >= len(GPUS):
        raise DriverError
    return list(GPUS)[place]


def of_uuid(uuid: str) -> str:
    if uuid not in GPUS:
        raise DriverError
    return uuid


def millijoules(uuid: str) -> int:
    if (counted := GPUS[uuid]) is None:
        raise DriverError
    return counted


def mig_mode(uuid: str) -> tuple[bool, bool]:
    if uuid == "GPU-old0":
        raise DriverError
    return uuid == "GPU-mig0", True


@pytest.fixture(name="nvml")
def _nvml(monkeypatch: pytest.MonkeyPatch) -> Any:
    driver = ModuleType("pynvml")
    functions: dict[str, Any] = {
        "NVMLError": DriverError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: len(GPUS),
        "nvmlDeviceGetHandleByIndex": of_index,
        "nvmlDeviceGetHandleByUUID": of_uuid,
        "nvmlDeviceGetUUID": lambda handle: handle,
        "nvmlDeviceGetName": lambda _: "H100",
        "nvmlDeviceGetMigMode": mig_mode,
        "nvmlDeviceGetTotalEnergyConsumption": millijoules,
    }
    vars(driver).update(functions)
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    spec = importlib.util.spec_from_file_location("nvml", REPOSITORY / "actors" / "engines" / "nvml.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        ("0", ("GPU-aa11",)),
        ("1, 0", ("GPU-ab22", "GPU-aa11")),
        ("GPU-ab22", ("GPU-ab22",)),
        ("GPU-ab", ("GPU-ab22",)),
        ("GPU-a", ()),
        ("0,2", ()),
        ("0,3", ()),
        ("7", ()),
        ("GPU-none", ()),
        ("MIG-aa11", ()),
        ("", ()),
    ],
)
def test_gpus_are_those_that_are_visible_and_tell(nvml: Any, visible: str, found: tuple[str, ...]) -> None:
    assert nvml.held(visible) == found


def test_energy_is_the_sum_over_an_engine_s_gpus_in_joules(nvml: Any) -> None:
    assert nvml.energy_j(("GPU-aa11", "GPU-ab22")) == 12_500.0
    assert nvml.energy_j(("GPU-aa11", "GPU-old0")) is None


def test_machine_without_a_driver_sees_no_gpu(nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [gpu["energy_j"] for gpu in nvml.seen("")] == [5000.0, 7500.0, None, None]
    assert [gpu["uuid"] for gpu in nvml.seen("1")] == ["GPU-ab22"]

    def no_driver() -> None:
        raise DriverError

    monkeypatch.setattr(nvml.pynvml, "nvmlInit", no_driver)
    nvml._start.cache_clear()
    assert nvml.seen("") == []
    assert nvml.held("0") == ()


def test_environment_with_gpus_has_the_library() -> None:
    assert "nvidia-ml-py" in environments.pins(environments.environment("inference", "cuda").lock.read_text())
