"""vLLM's command, its variables, and what is read of its log and metrics."""

import os
from pathlib import Path

import pytest

from actors.programs import compile_cache, vllm_server

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 2.0
"""


def test_arguments_say_engine_settings_as_options() -> None:
    engine = {"max_model_len": 128, "enforce_eager": True, "enable_prefix_caching": False}
    told = vllm_server.arguments("folder", "name", engine, "127.0.0.1", 8000)
    assert told[0] == "folder"
    assert {"--max-model-len=128", "--enforce-eager", "--no-enable-prefix-caching"} <= set(told)
    assert "--disable-uvicorn-access-log" in told


def test_inherited_leaves_out_what_is_pythons_and_rays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "x")
    monkeypatch.setenv("RAY_ADDRESS", "x")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = vllm_server.inherited()
    assert found["CUDA_VISIBLE_DEVICES"] == "1"
    assert not {"PYTHONPATH", "RAY_ADDRESS"} & set(found)


def test_engine_with_a_key_is_guarded_by_what_lies_alone_in_a_folder() -> None:
    guarded = vllm_server.command("python", "folder", "name", {}, "127.0.0.1", 8000, guarded=True)
    assert guarded[-2:] == ["--middleware", "key_guard.KeyGuard"]
    assert "--middleware" not in vllm_server.command("python", "folder", "name", {}, "127.0.0.1", 8000)
    variables = vllm_server.key_variables("sesame")
    assert {path.name for path in Path(variables["PYTHONPATH"]).glob("*.py")} == {"__init__.py", "key_guard.py"}
    assert variables["VLLM_API_KEY"] == "sesame"
    assert vllm_server.key_variables(None) == {}


def test_inherited_leaves_out_tokens_and_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = (
        "VLLM_API_KEY",
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "OPENAI_API_KEY",
        "MLFLOW_TRACKING_PASSWORD",
        "PIP_INDEX_URL",
    )
    for name in (*secret, "VLLM_LOGGING_LEVEL"):
        monkeypatch.setenv(name, "canary")
    assert [name for name, value in vllm_server.inherited().items() if value == "canary"] == ["VLLM_LOGGING_LEVEL"]


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80"), ("10.0.0.7", "http://10.0.0.7:80")],
)
def test_address_is_one_that_can_be_asked(host: str, url: str) -> None:
    assert vllm_server.address(host, 80) == url


def test_server_that_ends_before_it_answers_says_its_last_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("INFO fine\nValueError: no kernel for this\nINFO bye\n")
    with pytest.raises(vllm_server.NotStarted, match="ended with 1: ValueError: no kernel for this"):
        vllm_server.await_healthy("http://127.0.0.1:9", log, lambda: 1, timeout_s=5)


def test_requests_under_way_are_those_that_run_and_wait() -> None:
    assert vllm_server.requests_under_way(METRICS) == 5


def test_prune_removes_the_graphs_that_were_used_longest_ago(tmp_path: Path) -> None:
    for age, name in enumerate(("young", "middle", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "graph").write_bytes(b"x" * 1000)
        os.utime(tmp_path / name / "graph", (1e9 - age, 1e9 - age))
    compile_cache.prune(tmp_path, most_bytes=2_000)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["middle", "young"]
