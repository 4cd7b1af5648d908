"""A variant as KServe runs it: the manifests, from its record and the settings that were benchmarked. Pure.

KServe reads the model to /mnt/models; the engine gets exactly the arguments that were benchmarked, and asks for the
GPUs and the memory that they and the checkpoint's bytes call for.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import yaml

from actors.programs import vllm_server
from configs.base import UserError
from configs.hardware import Hardware
from configs.kserve import KServe
from configs.serving import Serving
from flows.deploying.candidate import Candidate
from flows.planning import memory

PORT = 8080
"""On which the engine answers in its pod."""
_MODEL = "/mnt/models"
_GUARD = "/guard"
_FORMAT = "vLLM"
_PROBED_EVERY_S = 10


class KServeText:
    """Manifests for KServe, to be applied by whoever has the cluster."""

    kind: ClassVar[str] = "kserve"

    def as_text(self, candidate: Candidate) -> str:
        """Both resources as YAML; see `manifests_of`."""
        text: str = yaml.safe_dump_all(manifests_of(candidate), sort_keys=False)
        return text


def manifests_of(candidate: Candidate) -> list[dict[str, Any]]:
    """The manifests of a variant, as its experiment says.

    Raises:
        UserError: it does not say where KServe finds the model.
    """
    run = candidate.run
    if (kserve := run.plan.experiment.kserve) is None:
        raise UserError(
            "kserve: missing in the experiment; --target kserve needs its `storage_uri` (where KServe reads the "
            "checkpoint) and `image`"
        )
    if candidate.path_in_store is None:
        raise UserError(
            f"--variant {candidate.variant}: its weights lie outside the store, at {candidate.folder}; "
            "write their location in place of {checkpoint} in kserve.storage_uri"
        )
    serving = candidate.outcome.plan.serving
    if serving.files:
        folder = next(iter(serving.files.values()))
        raise UserError(
            f"--variant {candidate.variant}: its engine needs the folder {folder}, too, and KServe brings one model; "
            "deploy it to another target"
        )
    return manifests(
        kserve,
        serving,
        run.plan.hardware,
        experiment=run.plan.experiment.name,
        variant=candidate.variant,
        engine=candidate.engine,
        checkpoint=candidate.path_in_store,
        weight_bytes=candidate.judged.size_bytes,
        cores=len(candidate.cores),
    )


def manifests(
    kserve: KServe,
    serving: Serving,
    hardware: Hardware,
    *,
    experiment: str,
    variant: str,
    engine: Mapping[str, Any],
    checkpoint: str,
    weight_bytes: int,
    cores: int,
) -> list[dict[str, Any]]:
    """A ServingRuntime and the InferenceService that names it; before them, where vLLM itself asks for a key, the
    ConfigMap with the middleware that does.

    Args:
        engine: vLLM's engine arguments.
        checkpoint: the checkpoint's folder, relative to the store's root.
        weight_bytes: size of its weights, by its record.
        cores: CPU cores of the engine, as benchmarked on a CPU; of no matter on GPUs.

    Raises:
        UserError: the weights do not fit the GPUs that were planned for.
    """
    name = service_name(experiment, variant)
    resources = _resources(serving, hardware, weight_bytes, cores)
    served = [_runtime(kserve, serving, engine, hardware, name), _service(kserve, name, variant, checkpoint, resources)]
    return [*([_guard(kserve, name)] if kserve.secret else []), *served]


def service_name(experiment: str, variant: str) -> str:
    """The name of both resources: a DNS label that leaves KServe room for what it appends.

    Raises:
        UserError: there is none.
    """
    name = re.sub(r"[^a-z0-9]+", "-", f"{experiment}-{variant}".lower()).strip("-")
    if not name[0].isalpha() or len(name) > 50:
        raise UserError(
            f"name: {name!r} would be the service's name; it must begin with a letter and have at most 50 characters: "
            "change the name of the experiment or of the variant"
        )
    return name


def _resources(serving: Serving, hardware: Hardware, weight_bytes: int, cores: int) -> dict[str, str]:
    host = memory.serving_host_bytes(weight_bytes, serving, on_cpu=hardware.on_cpu)
    wanted = {"memory": f"{math.ceil(host / memory.GIB)}Gi"}
    if hardware.on_cpu:
        return {"cpu": str(cores), **wanted}
    gpus = serving.tensor_parallel_size
    room = gpus * hardware.gpu_memory_bytes * serving.gpu_memory_utilization
    if weight_bytes >= room:
        raise UserError(
            f"serving.tensor_parallel_size: {weight_bytes / memory.GIB:.1f} GiB of weights do not fit {gpus} of "
            f"{hardware.name}, of which vLLM uses {room / memory.GIB:.1f} GiB; use more GPUs or a smaller variant"
        )
    return {**wanted, "nvidia.com/gpu": str(gpus)}


def _runtime(
    kserve: KServe, serving: Serving, engine: Mapping[str, Any], hardware: Hardware, name: str
) -> dict[str, Any]:
    wanted = {"VLLM_NO_USAGE_STATS": "1", **vllm_server.anywhere(serving.kv_cache_gib, on_cpu=hardware.on_cpu)}
    variables: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in wanted.items()]
    mounts: list[dict[str, Any]] = [{"name": "memory", "mountPath": "/dev/shm"}]
    volumes: list[dict[str, Any]] = [{"name": "memory", "emptyDir": {"medium": "Memory"}}]
    if kserve.secret:
        mounts.append({"name": "guard", "mountPath": _GUARD, "readOnly": True})
        volumes.append({"name": "guard", "configMap": {"name": name}})
        reference = {"secretKeyRef": {"name": kserve.secret, "key": "token"}}
        variables.append({"name": vllm_server.KEY, "valueFrom": reference})
        variables.append({"name": "PYTHONPATH", "value": _GUARD})
    probe = {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": _PROBED_EVERY_S, "timeoutSeconds": 5}
    container = {
        "name": "kserve-container",
        "image": kserve.image,
        "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "args": [
            f"--model={_MODEL}",
            f"--served-model-name={name}",
            f"--port={PORT}",
            *vllm_server.served_as(engine),
            *(vllm_server.GUARDED_BY if kserve.secret else ()),
        ],
        "env": variables,
        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
        # As long as the benchmark gave it to start, and only then is it looked at more strictly.
        "startupProbe": {**probe, "failureThreshold": math.ceil(serving.start_timeout_s / _PROBED_EVERY_S)},
        "readinessProbe": {**probe, "failureThreshold": 3},
        "livenessProbe": {**probe, "failureThreshold": 6},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": mounts,
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": name, "namespace": kserve.namespace},
        "spec": {
            "multiModel": False,
            "supportedModelFormats": [{"name": _FORMAT, "autoSelect": False}],
            "containers": [container],
            "volumes": volumes,
        },
    }


def _guard(kserve: KServe, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": kserve.namespace},
        "data": {"key_guard.py": (vllm_server.GUARD / "key_guard.py").read_text()},
    }


def _service(kserve: KServe, name: str, variant: str, checkpoint: str, resources: dict[str, str]) -> dict[str, Any]:
    annotations = {"serving.kserve.io/deploymentMode": "RawDeployment"}
    if kserve.auth == "opendatahub":
        annotations["security.opendatahub.io/enable-auth"] = "true"
    uri = kserve.storage_uri.replace("{checkpoint}", checkpoint).replace("{variant}", variant)
    predictor: dict[str, Any] = {
        "minReplicas": kserve.replicas,
        "maxReplicas": kserve.replicas,
        "model": {
            "modelFormat": {"name": _FORMAT},
            "runtime": name,
            "storageUri": uri,
            "resources": {"requests": resources, "limits": resources},
        },
    }
    if kserve.service_account:
        predictor["serviceAccountName"] = kserve.service_account
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": kserve.namespace, "annotations": annotations},
        "spec": {"predictor": predictor},
    }
