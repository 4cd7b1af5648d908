"""A GPU that somebody else holds is refused before an engine starts on it, by what nvidia-smi says."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests_support import H100

from actors.placement import machine, processes
from configs.base import UserError
from configs.serving import Serving
from flows import cluster
from flows.cli import BAD_INPUT, DONE, main
from flows.cluster import Node
from flows.planning import gpu_memory

pytestmark = pytest.mark.fast
NVIDIA_SMI = """#!/bin/sh
case "$*" in
  *gpu=name*) echo 'NVIDIA H100 80GB HBM3, 81559, 9.0' ;;
  *compute-apps*) cat {apps} ;;
  *) cat {gpus} ;;
esac
"""


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes nvidia-smi say what is free on each GPU, and who holds how much of which."""
    folder = tmp_path / "driver"
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(NVIDIA_SMI.format(apps=folder / "apps", gpus=folder / "gpus"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def says(free: list[int], apps: list[tuple[int, int, str]]) -> None:
        rows = [f"{place}, GPU-{place}, NVIDIA H100 80GB HBM3, 81559, {mib}" for place, mib in enumerate(free)]
        (folder / "gpus").write_text("\n".join(rows) + "\n")
        (folder / "apps").write_text("".join(f"GPU-{gpu}, {process}, {mib}\n" for gpu, process, mib in apps))

    return says


def used(free: int, *holders: tuple[int, int | None, str]) -> list[dict[str, Any]]:
    """One GPU as `machine.gpu_use` tells of it; holders are an id, MiB, and of whom they are."""
    told = [{"process": process, "name": "python", "mib": mib, "of": of} for process, mib, of in holders]
    return [{"index": 0, "name": "H100", "total_mib": 81559, "free_mib": free, "holders": told}]


def refusal(told: list[dict[str, Any]], offered: int | None = None, serving: Serving | None = None) -> str:
    with pytest.raises(UserError) as found:
        gpu_memory.check(serving or Serving(), {"n" * 56 if offered is not None else "": (offered, told)})
    return str(found.value)


def test_gpu_use_names_who_holds_what(nvidia_smi: Any) -> None:
    nvidia_smi([11559, 81079], [(0, os.getpid(), "60000"), (0, 2**22 + 1, "[N/A]")])
    first, second = machine.gpu_use()
    assert (first["index"], first["total_mib"], first["free_mib"]) == (0, 81559, 11559)
    mine, unseen = first["holders"]
    assert (mine["process"], mine["mib"], mine["of"]) == (os.getpid(), 60000, "")
    assert mine["name"]
    assert unseen == {"process": 2**22 + 1, "name": "", "mib": None, "of": ""}, "an id of the host's, in a container"
    assert second["holders"] == []


def test_gpu_use_tells_a_dead_lease_from_a_stranger(nvidia_smi: Any) -> None:
    sleeping = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    stray = subprocess.Popen(sleeping, env=os.environ | {processes.LEASE_MARK: "dead"})
    try:
        nvidia_smi([1559], [(0, stray.pid, "80000")])
        assert machine.gpu_use()[0]["holders"][0]["of"] == "dead"
    finally:
        stray.kill()
        stray.wait()


def test_gpu_use_without_a_driver_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert machine.gpu_use() == []


def test_free_gpu_is_not_refused() -> None:
    gpu_memory.check(Serving(), {"": (None, used(81079))})


def test_gpu_of_a_stranger_is_refused_by_name_rule_and_what_to_do() -> None:
    assert refusal(used(11559, (7, 70000, ""))) == (
        "serving.gpu_memory_utilization: an engine needs 71.7 of the 79.6 GiB of GPU 0 (H100), but only 11.3 are free: "
        "process 7 (python) holds 68.4 GiB; end the processes that hold it, or set CUDA_VISIBLE_DEVICES to other "
        "GPUs, or set serving.gpu_memory_utilization to 0.14 or less"
    )


def test_gpu_of_the_dead_says_how_to_end_them() -> None:
    words = refusal(used(1559, (7, 40000, "dead"), (8, None, "dead")))
    assert "kill -9 7 8" in words
    assert "process 8 (python, left by a dead run or a deployment of this project) holds an unknown part" in words
    assert "or less" not in words, "no engine starts with the little that is free"


def test_engines_that_share_a_gpu_are_counted_together() -> None:
    gpu_memory.check(Serving(gpu_share=0.5, gpu_memory_utilization=0.45), {"": (None, used(75000))})
    words = refusal(used(70000), serving=Serving(gpu_share=0.5, gpu_memory_utilization=0.45))
    assert "2 engines need 71.7" in words
    assert "utilization to 0.42 or less" in words


def test_cluster_waits_for_its_own_and_refuses_strangers() -> None:
    gpu_memory.check(Serving(), {"node": (1, used(1559, (7, 79000, "Ray")))})
    words = refusal(used(1559, (7, 40000, "Ray"), (8, 39000, "")), offered=1)
    assert "node nnnnnnnn, " in words
    assert "process 8" in words and "process 7" not in words
    assert "CUDA_VISIBLE_DEVICES" not in words, "Ray hands the GPUs out"


def test_cluster_that_gives_out_fewer_gpus_than_there_are_may_have_full_ones() -> None:
    told = [*used(1559, (8, 79000, "")), *used(81079)]
    gpu_memory.check(Serving(), {"node": (1, told)})
    assert "GPU 0" in refusal(told, offered=2)


@pytest.mark.usefixtures("built")
def test_plan_on_a_gpu_of_a_stranger_is_bad_input(
    experiment_file: Any, nvidia_smi: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster, "this_machine", lambda _: H100)
    path = str(experiment_file(accelerator="cuda"))
    nvidia_smi([1559], [(0, os.getpid(), "79000")])
    assert main(["plan", path]) == BAD_INPUT
    said = capfd.readouterr().err
    assert said.startswith("error: serving.gpu_memory_utilization: ") and said.count("\n") == 1
    assert f"process {os.getpid()} (" in said
    nvidia_smi([81079], [])
    assert main(["plan", path]) == DONE


def test_all_nodes_that_would_be_used_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {**machine.describe(), "gpus": [["NVIDIA H100 80GB HBM3", "81559", "9.0"]]}
    nodes = [Node("head", 0, 0, told), Node("one", 8, 1, told), Node("two", 8, 1, told)]
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(cluster, "nodes", lambda: nodes)
    monkeypatch.setattr(cluster, "on_nodes", lambda asked, _: {node: used(81079) for node in asked})
    assert cluster.gpu_use(H100) == {"one": (1, used(81079)), "two": (1, used(81079))}
