"""What the doctor says of a state, and of this machine as it is."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from actors import environments
from actors.placement import machine, processes
from configs.serving import Serving
from flows import cluster, doctor
from flows.cli import DONE, FAILED, main
from flows.cluster import Node

WELL = {
    **machine.describe(),
    "gpus": [],
    "python": ".".join(map(str, sys.version_info[:3])),
    "ray": ray.__version__,
    "niceness": 0,
    "missing": [],
    "unwritable": None,
    "sees_probe": True,
    "unusable_port": None,
    "memory_available_bytes": 8 << 30,
    "left_over": [],
}


@pytest.mark.fast
@pytest.mark.parametrize(
    ("wrong", "what", "todo"),
    [
        ({"ray": "2.59.0"}, "versions", "the driver's environment"),
        ({"missing": ["/x/inference-cuda-abc/bin/python"]}, "environments", "environments.py build"),
        ({"unwritable": "Read-only file system"}, "store", "MSF_STORE"),
        ({"sees_probe": False}, "store", "the same storage"),
        ({"unusable_port": "Address already in use"}, "serving port", "serving.port"),
        ({"memory_available_bytes": 1 << 30}, "memory", "2.9 GiB"),
        ({"left_over": [7, 8]}, "leftovers", "kill -9 7 8"),
        ({"niceness": 15}, "niceness", "RAY_worker_niceness=0"),
    ],
)
def test_what_is_wrong_is_found_and_says_what_to_do(wrong: dict[str, Any], what: str, todo: str) -> None:
    node = Node("n", 8, 0, {})
    assert not [finding for finding in doctor.judge("n", WELL, node, Serving()) if finding.todo]
    (found,) = [finding for finding in doctor.judge("n", WELL | wrong, node, Serving()) if finding.todo]
    assert found.what == what
    assert todo in str(found.todo)


@pytest.mark.fast
def test_gpus_that_ray_gives_out_and_nobody_sees_are_found() -> None:
    (found,) = [finding for finding in doctor.judge("n", WELL, Node("n", 8, 2, {}), Serving()) if finding.todo]
    assert "Ray offers 2, nvidia-smi shows 0" in str(found.todo)


@pytest.mark.fast
def test_gpu_whose_memory_somebody_holds_is_found() -> None:
    holder = {"process": 7, "name": "python", "mib": 70000, "of": ""}
    gpu = {"index": 0, "name": "H100", "total_mib": 81559, "free_mib": 11559, "holders": [holder]}
    free = {**gpu, "index": 1, "free_mib": 81079, "holders": []}
    looks = doctor.judge("n", WELL | {"gpu_use": [gpu, free]}, None, Serving())
    full, other = [finding for finding in looks if finding.what.endswith(" memory")][:2]
    assert (full.what, full.state) == ("GPU 0 memory", "11.3 of 79.6 GiB free")
    assert "process 7 (python) holds 68.4 GiB" in str(full.todo)
    assert (other.what, other.todo) == ("GPU 1 memory", None)


@pytest.mark.fast
def test_head_that_does_no_work_needs_no_memory_of_an_engine() -> None:
    told = WELL | {"memory_available_bytes": 1 << 30, "niceness": 15}
    assert not [finding for finding in doctor.judge("n", told, Node("n", 0, 0, {}), Serving()) if finding.todo]


@pytest.mark.fast
def test_process_with_a_mark_and_no_ray_above_it_is_left_over() -> None:
    sleeping = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    stray = subprocess.Popen(sleeping, env=os.environ | {processes.LEASE_MARK: "dead"})
    try:
        assert stray.pid in processes.left_over()
    finally:
        stray.kill()
        stray.wait()


@pytest.mark.fast
def test_doctor_of_this_machine_exits_by_what_it_finds(
    experiment_file: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Any
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(processes, "left_over", list)
    monkeypatch.setattr(machine, "_available_bytes", lambda: 8 << 30)
    path = str(experiment_file(accelerator="cpu"))
    monkeypatch.setattr(environments.Environment, "python", property(lambda _: Path(sys.executable)))
    assert main(["doctor", path]) == DONE
    monkeypatch.setattr(environments.Environment, "python", property(lambda _: tmp_path / "none/bin/python"))
    assert main(["doctor", path]) == FAILED
    assert "environments.py build" in capfd.readouterr().out
    assert not list((tmp_path / "store").iterdir()), "nothing is left in the store"


def test_doctor_asks_the_nodes_of_a_cluster(
    experiment_file: Any, fake_engines: None, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "the fakes'")
    monkeypatch.setattr(environments.Environment, "python", property(lambda _: Path("/nowhere/env/bin/python")))
    path = str(experiment_file(accelerator="cpu"))
    cluster._nodes.cache_clear()
    assert main(["doctor", path]) == FAILED
    (node,) = [each["NodeID"][:8] for each in ray.nodes()]
    said = capfd.readouterr().out
    assert f"{node}, environments: run" in said
    assert "writable, shared with the driver" in said
    cluster._nodes.cache_clear()


@pytest.mark.fast
@pytest.mark.parametrize(("told", "words"), [([], "told by 0 of 1"), ([{"energy_j": 5.0}], "told by 1 of 1")])
def test_doctor_says_whether_a_gpu_tells_its_energy(told: list[Any], words: str) -> None:
    state = {**WELL, "gpus": [["H100", "81559", "9.0"]], "gpu_energy": told}
    (found,) = [finding for finding in doctor.judge("n", state, None, Serving()) if finding.what == "GPU energy"]
    assert (found.state, found.todo) == (words, None)
