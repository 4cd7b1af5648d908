"""The whole flow on the real engines: llm-compressor, vLLM under Ray Serve, lm-eval, GuideLLM, MLflow."""

import json
from pathlib import Path

import pytest
from real_support import records, run_flow

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]


def test_smoke_measures_and_decides(smoke_store: Path) -> None:
    found = records(smoke_store)
    steps = (
        "prepare/base",
        "quantize/int8-w8a8",
        *(f"{k}/{v}" for k in ("evaluate", "benchmark") for v in ("base", "int8-w8a8")),
    )
    assert set(found) == set(steps)
    decision = json.loads((smoke_store / "experiments/smoke/decision.json").read_text())
    assert (decision["answer"], decision["recommended"]) == ("deploy", "int8-w8a8")
    assert {variant["name"] for variant in decision["judged"]} == {"base", "int8-w8a8"}
    assert (smoke_store / "experiments/smoke/report.html").stat().st_size > 10_000


def test_smoke_base_serves_what_transformers_says(smoke_store: Path) -> None:
    found = records(smoke_store)
    reference = found["benchmark/base"]["result"]["reference"]
    limits = {"float32": 0.05, "bfloat16": 0.10}  # measured: 0.000; 0.063 with AVX-512, 0.092 with AMX
    assert reference["mean_logprob_difference"] < limits[found["prepare/base"]["identity"]["settings"]["dtype"]]
    alike = [answer for answer in reference["answers"] if answer["served"] == answer["reference"]]
    assert len(alike) >= 3, "of four greedy answers; with AMX a near tie of 0.25 nats flips one"


def test_smoke_compresses_the_checkpoint(smoke_store: Path) -> None:
    found = records(smoke_store)
    base, int8 = (found[name]["result"]["weight_bytes"] for name in ("prepare/base", "quantize/int8-w8a8"))
    assert int8 < 0.65 * base


def test_smoke_loads_with_the_asked_tokens(smoke_store: Path) -> None:
    for variant in ("base", "int8-w8a8"):
        (point,) = records(smoke_store)[f"benchmark/{variant}"]["result"]["points"]
        assert (point["prompt_tokens_mean"], point["output_tokens_mean"]) == (16, 8)
        assert point["errors"] == 0


def test_smoke_again_redoes_nothing(smoke_store: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in smoke_store.glob("records/*/*/record.json")}
    assert run_flow("configs/experiments/smoke.yaml", store=smoke_store).returncode == 0
    assert {p: p.stat().st_mtime_ns for p in smoke_store.glob("records/*/*/record.json")} == before
