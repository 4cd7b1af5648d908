"""The manifests for KubeRay, against the fields of its custom resources (KubeRay 1.6, ray.io/v1)."""

import re
from typing import Any

import pytest
import yaml

from actors import environments
from configs.base import REPOSITORY

pytestmark = pytest.mark.fast

FOLDER = REPOSITORY / "configs" / "cluster"
CLUSTER = {
    "rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs", "enableInTreeAutoscaling", "autoscalerOptions",
    "suspend", "managedBy", "gcsFaultToleranceOptions", "headServiceAnnotations", "upgradeStrategy",
}  # fmt: skip
HEAD = {"template", "headService", "enableIngress", "resources", "labels", "rayStartParams", "serviceType"}
WORKERS = {
    "groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template", "suspend",
    "idleTimeoutSeconds", "resources", "labels", "scaleStrategy", "numOfHosts",
}  # fmt: skip
JOB = {
    "entrypoint", "submissionMode", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit",
    "rayClusterSpec", "activeDeadlineSeconds", "clusterSelector", "metadata", "runtimeEnvYAML", "jobId", "suspend",
    "submitterPodTemplate", "submitterConfig", "entrypointNumCpus", "entrypointNumGpus", "entrypointResources",
    "managedBy", "deletionStrategy",
}  # fmt: skip
"""What a specification may hold. What is required is asked for below."""


def manifest(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def specifications() -> list[Any]:
    return [manifest("raycluster.yaml")["spec"], manifest("rayjob.yaml")["spec"]["rayClusterSpec"]]


def test_manifests_name_their_kinds() -> None:
    kinds = {name: manifest(name) for name in ("raycluster.yaml", "rayjob.yaml")}
    assert {found["apiVersion"] for found in kinds.values()} == {"ray.io/v1"}
    assert [found["kind"] for found in kinds.values()] == ["RayCluster", "RayJob"]
    assert set(kinds["rayjob.yaml"]["spec"]) <= JOB


@pytest.mark.parametrize("spec", specifications(), ids=["cluster", "job"])
def test_specification_has_fields_of_the_resource(spec: Any) -> None:
    assert set(spec) <= CLUSTER
    assert set(spec["headGroupSpec"]) <= HEAD
    assert {"template", "rayStartParams"} <= set(spec["headGroupSpec"])
    for group in spec["workerGroupSpecs"]:
        assert set(group) <= WORKERS
        assert {"groupName", "template", "minReplicas", "maxReplicas"} <= set(group)
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.parametrize("spec", specifications(), ids=["cluster", "job"])
def test_head_does_no_work_and_every_pod_reaches_the_store(spec: Any) -> None:
    head, *workers = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    assert (head["rayStartParams"]["num-cpus"], head["rayStartParams"]["num-gpus"]) == ("0", "0")
    assert all(isinstance(value, str) for value in head["rayStartParams"].values())
    for group in (head, *workers):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert "/shared" in {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (group is not head)
        assert container["resources"]["requests"] == container["resources"]["limits"]


@pytest.mark.parametrize("spec", specifications(), ids=["cluster", "job"])
def test_cluster_asks_for_a_token_and_runs_the_locked_ray(spec: Any) -> None:
    assert spec["authOptions"] == {"mode": "token"}
    lock = environments.environment("driver", "cuda").lock.read_text()
    assert spec["rayVersion"] == environments.pins(lock)["ray"]
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_image_builds_from_what_is_there() -> None:
    text = (FOLDER / "Containerfile").read_text()
    for source in re.findall(r"^COPY (\S+) ", text, re.MULTILINE):
        assert (REPOSITORY / source).exists()
    assert f"python:{environments.PYTHON}-" in text
    assert "actors/environments.py build" in text
    assert text.index("environments.py build") < text.index("COPY . "), "a code edit must not build them again"
