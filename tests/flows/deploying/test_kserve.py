"""The manifests for KServe, against the fields of its custom resources (v1beta1 InferenceService, v1alpha1
ServingRuntime)."""

from typing import Any

import pytest
from pydantic import ValidationError

from actors.programs.vllm_server import as_options
from configs.base import UserError
from configs.hardware import Hardware
from configs.kserve import KServe
from configs.loading import load_experiment
from flows.deploying import kserve
from flows.planning.engine_arguments import engine_args

pytestmark = pytest.mark.fast

GIB = 1 << 30
H100 = Hardware(
    accelerator="cuda", name="H100", cores=8, memory_bytes=64 * GIB, gpus=8, gpu_memory_bytes=80 * GIB,
    compute_capability=9.0,
)  # fmt: skip
CPU = Hardware(accelerator="cpu", name="a CPU", cores=8, memory_bytes=64 * GIB, instructions=("avx512f",))
WHERE = {"storage_uri": "pvc://store/{checkpoint}", "image": "vllm/vllm-openai:v0.29.0", "namespace": "models"}

PREDICTOR = {"minReplicas", "maxReplicas", "model", "serviceAccountName", "annotations", "labels", "tolerations"}
MODEL = {"modelFormat", "runtime", "storageUri", "storage", "resources", "args", "env", "protocolVersion"}
RUNTIME = {
    "multiModel",
    "supportedModelFormats",
    "containers",
    "volumes",
    "protocolVersions",
    "annotations",
    "disabled",
}
CONTAINER = {
    "name", "image", "command", "args", "env", "ports", "startupProbe", "readinessProbe", "livenessProbe",
    "securityContext", "volumeMounts", "resources",
}  # fmt: skip
"""Of the fields that the custom resources have, those that anything here may use."""


@pytest.fixture
def made(experiment_file: Any) -> Any:
    """Runtime and service of a variant; keywords go to KServe's settings."""

    def make(hardware: Hardware = H100, weight_gib: float = 8, serving: Any = None, **settings: Any) -> Any:
        experiment = load_experiment(experiment_file(serving=serving or {}))
        return kserve.manifests(
            KServe(**WHERE | settings),
            experiment.serving,
            hardware,
            experiment=experiment.name,
            variant="fp8-dynamic",
            engine=engine_args(experiment.serving, hardware),
            checkpoint="records/quantize/abc/checkpoint",
            weight_bytes=int(weight_gib * GIB),
            cores=4,
        )

    return make


def test_manifests_have_fields_of_their_resources(made: Any) -> None:
    runtime, service = made(service_account="reader")
    assert (runtime["apiVersion"], runtime["kind"]) == ("serving.kserve.io/v1alpha1", "ServingRuntime")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert set(runtime["spec"]) <= RUNTIME
    (container,) = runtime["spec"]["containers"]
    assert set(container) <= CONTAINER
    assert container["name"] == "kserve-container", "KServe finds the engine by this name"
    predictor = service["spec"]["predictor"]
    assert set(service["spec"]) == {"predictor"}
    assert set(predictor) <= PREDICTOR
    assert set(predictor["model"]) <= MODEL
    formats = {each["name"] for each in runtime["spec"]["supportedModelFormats"]}
    assert predictor["model"]["modelFormat"]["name"] in formats
    assert predictor["model"]["runtime"] == runtime["metadata"]["name"]
    assert service["metadata"]["namespace"] == runtime["metadata"]["namespace"] == "models"
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"


def test_engine_gets_what_was_benchmarked(made: Any, experiment_file: Any) -> None:
    serving = {"max_model_len": 4096, "tensor_parallel_size": 2, "kv_cache_dtype": "fp8", "engine_args": {"seed": 3}}
    (container,) = made(serving=serving)[0]["spec"]["containers"]
    asked = engine_args(load_experiment(experiment_file(serving=serving)).serving, H100)
    flags = set(container["args"])
    assert set(as_options(asked)) <= flags
    assert {"--max-model-len=4096", "--kv-cache-dtype=fp8", "--no-enforce-eager", "--model=/mnt/models"} <= flags
    assert len(flags) == len(asked) + 4, "model, name, port and no access log beside them"


@pytest.mark.parametrize(
    ("hardware", "weight_gib", "serving", "wanted"),
    [
        (H100, 8, {"tensor_parallel_size": 2}, {"memory": "11Gi", "nvidia.com/gpu": "2"}),
        (H100, 8.2, {}, {"memory": "12Gi", "nvidia.com/gpu": "1"}),
        (CPU, 0.2, {"kv_cache_gib": 2}, {"memory": "6Gi", "cpu": "4"}),
    ],
)
def test_requests_follow_from_the_checkpoint(
    made: Any, hardware: Hardware, weight_gib: float, serving: Any, wanted: Any
) -> None:
    service = made(hardware, weight_gib, serving)[1]
    assert service["spec"]["predictor"]["model"]["resources"] == {"requests": wanted, "limits": wanted}


def test_engine_on_a_cpu_gets_what_it_was_measured_with(made: Any) -> None:
    (container,) = made(CPU, 0.2, {"kv_cache_gib": 2})[0]["spec"]["containers"]
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert given.items() >= {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_INT4_W4A8": "0"}.items()


def test_weights_that_do_not_fit_are_refused(made: Any) -> None:
    with pytest.raises(UserError, match=r"73.0 GiB of weights do not fit 1 of H100, of which vLLM uses 72.0 GiB"):
        made(weight_gib=73)


@pytest.mark.parametrize(
    ("uri", "read"),
    [
        ("pvc://store/{checkpoint}", "pvc://store/records/quantize/abc/checkpoint"),
        ("s3://models/{variant}", "s3://models/fp8-dynamic"),
        ("oci://registry.example/models:{variant}", "oci://registry.example/models:fp8-dynamic"),
    ],
)
def test_model_is_read_from_where_it_lies(made: Any, uri: str, read: str) -> None:
    assert made(storage_uri=uri)[1]["spec"]["predictor"]["model"]["storageUri"] == read


def test_token_is_asked_for_as_configured(made: Any) -> None:
    mark = "security.opendatahub.io/enable-auth"
    assert made()[1]["metadata"]["annotations"][mark] == "true"
    guard, runtime, service = made(auth="api-key", secret="key")
    assert mark not in service["metadata"]["annotations"]
    (container,) = runtime["spec"]["containers"]
    reference = {"secretKeyRef": {"name": "key", "key": "token"}}
    assert {"name": "VLLM_API_KEY", "valueFrom": reference} in container["env"]
    assert (guard["kind"], list(guard["data"])) == ("ConfigMap", ["key_guard.py"])
    assert {"name": "guard", "configMap": {"name": guard["metadata"]["name"]}} in runtime["spec"]["volumes"]
    assert container["args"][-2:] == ["--middleware", "key_guard.KeyGuard"]
    assert {"name": "PYTHONPATH", "value": container["volumeMounts"][-1]["mountPath"]} in container["env"]


def test_probes_wait_as_long_as_the_benchmark(made: Any) -> None:
    (container,) = made(serving={"start_timeout_s": 301})[0]["spec"]["containers"]
    assert container["startupProbe"]["failureThreshold"] == 31
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": 8080}


@pytest.mark.parametrize(
    "wrong",
    [{"storage_uri": "file:///models"}, {"image": "vllm"}, {"auth": "api-key"}, {"secret": "key"}],
)
def test_settings_that_cannot_work_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        KServe(**WHERE | wrong)


def test_name_is_a_dns_label() -> None:
    assert kserve.service_name("llama-3.1", "int4_g64") == "llama-3-1-int4-g64"
    with pytest.raises(UserError, match="at most 50"):
        kserve.service_name("a", "b" * 60)
