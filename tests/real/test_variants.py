"""A variant that is more than a scheme, on the real engines: a checkpoint made elsewhere, with speculative decoding."""

import json
import os
import shutil
from pathlib import Path

import pytest
from real_support import records, run_flow

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]


def test_checkpoint_made_elsewhere_is_served_with_guesses_and_compared(smoke_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(smoke_store, store, copy_function=os.link)  # nothing in a store is written in place
    int8 = records(store)["quantize/int8-w8a8"]
    elsewhere = store / "records/quantize" / int8["fingerprint"] / "checkpoint"
    speculative = "{kind: ngram, num_speculative_tokens: 3}"
    variant = (
        f"{{name: guessing, checkpoint: {{kind: path, path: {elsewhere}}}, serving: {{speculative: {speculative}}}}}"
    )
    changes = ("name=ways", "schemes=[]", f"variants=[{variant}]", "load.repeats=1")
    overrides = [argument for change in changes for argument in ("--set", change)]
    done = run_flow("configs/experiments/smoke.yaml", *overrides, store=store)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    made = records(store)
    prepared, loaded = made["prepare/guessing"]["result"], made["benchmark/guessing"]
    assert prepared["folder"] == str(elsewhere)
    assert prepared["weight_bytes"] == int8["result"]["weight_bytes"]
    assert loaded["identity"]["settings"]["engine_args"]["speculative_config"]["method"] == "ngram"
    assert "speculative_config" not in loaded["identity"]["settings"]["engine_args_of_base"]
    assert loaded["result"]["reference"]["limit"] == 0.35, "its activations are rounded, by its own words"
    decision = json.loads((store / "experiments/ways/decision.json").read_text())
    assert {judged["name"] for judged in decision["judged"]} == {"base", "guessing"}
    logs = (store / "experiments/ways/logs").rglob("vllm-*guessing*.log")
    assert any("method='ngram'" in log.read_text(errors="replace") for log in logs)
