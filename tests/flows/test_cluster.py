"""What a plan takes a cluster for, and whether the cluster that is shipped says so."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from actors.placement import machine
from configs.base import REPOSITORY, UserError
from configs.loading import load_experiment
from flows import cluster, own_ray
from flows.cli import FAILED, main
from flows.cluster import Node
from flows.planning.preflight import check_inputs
from flows.store.records import Store

pytestmark = pytest.mark.fast

CPU = {"cpu": "a CPU", "flags": ["avx2", "avx512f"], "cores": 16, "memory_bytes": 64 << 30, "gpus": []}
H100 = CPU | {"cpu": "another", "gpus": [["H100", "81559", "9.0"]] * 8}


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cluster of some nodes, which RAY_ADDRESS names."""

    def of(*nodes: Node) -> None:
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        monkeypatch.delenv("MSF_ACCELERATOR", raising=False)
        monkeypatch.setattr(cluster, "nodes", lambda: nodes)

    return of


def test_cluster_file_is_valid_by_rays_own_schema() -> None:
    prepared = prepare_config(yaml.safe_load((REPOSITORY / "cluster.yaml").read_text()))
    validate_config(prepared)
    types = prepared["available_node_types"]
    assert types[prepared["head_node_type"]]["resources"] == {"CPU": 0, "GPU": 0}
    workers = [kind for name, kind in types.items() if name != prepared["head_node_type"]]
    assert all(kind["resources"]["GPU"] for kind in workers)
    assert sum(kind["min_workers"] for kind in workers) >= 1, "a plan needs a worker that is there"


def test_cluster_file_binds_privately_and_asks_for_a_token() -> None:
    text = (REPOSITORY / "cluster.yaml").read_text()
    config = yaml.safe_load(text)
    start = " ".join(config["head_start_ray_commands"])
    assert "--num-cpus=0 --num-gpus=0 --dashboard-host=127.0.0.1" in start
    assert "0.0.0.0" not in text
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in commands[0]
        assert "MSF_STORE=/shared/" in commands[0]


def test_plan_is_made_for_the_largest_worker(named: Any, experiment_file: Any) -> None:
    named(Node("head", 0, 0, CPU), Node("small", 4, 0, CPU), Node("large", 12, 0, CPU))
    found = cluster.this_machine(load_experiment(experiment_file()))
    assert (found.accelerator, found.cores, found.gpus) == ("cpu", 12, 0), "what Ray gives out, not all there is"


def test_plan_is_made_for_gpus_where_the_cluster_has_some(named: Any, experiment_file: Any) -> None:
    named(Node("head", 0, 0, CPU), Node("cpu", 16, 0, CPU), Node("gpu", 8, 4, H100))
    found = cluster.this_machine(load_experiment(experiment_file()))
    assert (found.accelerator, found.name, found.gpus, found.compute_capability) == ("cuda", "H100", 4, 9.0)
    assert [cluster.is_alike(node, found) for node in ("gpu", "gone")] == [True, False]
    assert found.cores == 8, "a quantizer holds its share of the cores that Ray gives out, not of all there are"


def test_cluster_that_gives_out_nothing_is_refused(named: Any, experiment_file: Any) -> None:
    named(Node("head", 0, 0, CPU))
    with pytest.raises(UserError, match="no node of the cluster offers a CPU core"):
        cluster.this_machine(load_experiment(experiment_file()))


def test_without_a_cluster_the_machine_itself_counts(experiment_file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster, "nodes", lambda: pytest.fail("nobody is asked"))
    found = cluster.this_machine(load_experiment(experiment_file(accelerator="cpu")))
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.name == machine.describe()["cpu"]


def test_address_of_the_jobs_api_is_refused_for_a_driver(experiment_file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)  # as another test may have left it
    with pytest.raises(UserError, match="is for job submission"):
        cluster.this_machine(load_experiment(experiment_file(accelerator="cpu")))


@pytest.mark.usefixtures("built")
def test_store_inside_the_working_directory_of_a_job_is_refused(
    experiment_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = load_experiment(experiment_file(storage={"root": "store"}))
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"runtime_env": {"working_dir": "gcs://_ray_pkg_1.zip"}}')
    with pytest.raises(UserError, match="inside the working directory of a Ray job"):
        check_inputs(asked, "cpu")
    assert not Path(asked.storage.root).exists()


def test_ray_that_does_not_start_is_one_line_and_a_failed_run(
    experiment_file: Any, hardware: Any, built: None, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def late(**_: Any) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(own_ray.ray, "init", late)
    monkeypatch.setattr(own_ray.ray, "shutdown", lambda: None)
    assert main(["run", str(experiment_file())]) == FAILED
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "Ray did not start on this machine: The current node timed out during startup." in said


def test_full_disk_is_one_line_and_a_failed_run(
    experiment_file: Any, hardware: Any, built: None, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Store, "refer", full)
    assert main(["run", str(experiment_file())]) == FAILED
    assert "free some space, then run the same command again" in capfd.readouterr().err
