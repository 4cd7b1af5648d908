"""The plan: what a step is named by."""

from typing import Any

import pytest

from actors.programs import vllm_server
from configs.base import REPOSITORY
from configs.hardware import Hardware
from configs.loading import load_experiment
from flows.planning import plan, variant_steps


def test_own_number_of_calibration_samples_names_the_scheme_s_step(
    experiment_file: Any, tmp_path: Any, hardware: Hardware
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("word")
    own = [{}, {"name": "same", "calibration_samples": 4}, {"name": "more", "calibration_samples": 8}]
    path = experiment_file(
        schemes=[{"kind": "int4-w4a16", **settings} for settings in own],
        calibration={"source": {"kind": "local", "path": str(text)}, "samples": 4},
    )
    unset, same, more = (variant.checkpoint for variant in plan.make(load_experiment(path), hardware).variants[1:])
    assert same.fingerprint == unset.fingerprint
    assert (unset.settings["calibration"]["samples"], more.settings["calibration"]["samples"]) == (4, 8)


SMOKE = {
    "base": ["df3b8ff751b9d52a", "e99076ae66317d5b", "37c8ac07fbd9c925", "e7c3cf91ff1bc1a8", "6c5b9722ac8569b4"],
    "int8-w8a8": ["601f53fba81528db", "433c768c18faff98", "b67780673bd6bd76", "d3166b3d81c7d592"],
}
"""Fingerprints of the shipped smoke.yaml without the versions of libraries."""


def test_experiment_with_one_load_keeps_its_fingerprints(hardware: Hardware, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variant_steps, "libraries", lambda *_: {})
    made = plan.make(load_experiment(REPOSITORY / "configs/experiments/smoke.yaml"), hardware)
    assert {v.name: [step.fingerprint for step in v.steps] for v in made.variants} == SMOKE, (
        "records of finished experiments are found no more; where a step is really done otherwise, raise its _METHOD"
    )


def test_workload_s_name_is_in_no_fingerprint(experiment_file: Any, hardware: Hardware) -> None:
    load = {"kind": "concurrent", "streams": [1], "prompt_tokens": 512, "output_tokens": 1024}
    one = plan.make(load_experiment(experiment_file(load=load)), hardware).base
    chat = {"kind": "concurrent", "streams": [1], "preset": "chat"}
    several = experiment_file(load=None, workloads={"short": {**load, "prompt_tokens": 8}, "talk": chat})
    both = plan.make(load_experiment(several), hardware).base
    assert both.benchmarks[4:] == one.benchmarks
    assert (both.checkpoint, both.evaluations) == (one.checkpoint, one.evaluations)


def test_what_a_request_leaves_open_is_said_to_the_server_and_named_in_its_steps(
    experiment_file: Any, hardware: Hardware
) -> None:
    own, none = (
        plan.make(load_experiment(experiment_file(serving=serving)), hardware)
        for serving in ({}, {"generation_config": "vllm"})
    )
    assert own.base.engine_args["generation_config"] == "auto"
    assert "--generation-config=vllm" in vllm_server.as_options(none.base.engine_args)
    assert own.base.benchmarks[0].fingerprint != none.base.benchmarks[0].fingerprint


def test_leave_to_run_code_changes_no_evaluation(experiment_file: Any, hardware: Hardware) -> None:
    asked = [{"tasks": ["everyday_science"], "allow_code": allowed} for allowed in (False, True)]
    plans = [plan.make(load_experiment(experiment_file(accuracy=one)), hardware).base for one in asked]
    assert plans[0].evaluations == plans[1].evaluations


def test_how_a_model_is_asked_is_in_the_name_of_an_evaluation(experiment_file: Any, hardware: Hardware) -> None:
    drawn = {"name": "everyday_science", "gen_kwargs": {"temperature": 0.6}, "seeds": 2}
    asked = [{"tasks": ["everyday_science"]}, {"tasks": [drawn]}]
    asked.append({**asked[0], "system_instruction": "Be brief."})
    asked.append({"tasks": [{"name": "everyday_science", "chat_template": True}]})
    named = {
        plan.make(load_experiment(experiment_file(accuracy=accuracy)), hardware).base.evaluations[0].fingerprint
        for accuracy in asked
    }
    assert len(named) == len(asked)
