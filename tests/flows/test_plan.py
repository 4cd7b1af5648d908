"""The plan: what a step is named by."""

from typing import Any

import pytest

from configs.base import REPOSITORY
from configs.hardware import Hardware
from configs.loading import load_experiment
from flows import plan


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
    "base": ["3a4a7b1167ad86c0", "1d8fe94673b91265", "56546fcf47b5fa53", "f88284575d75840a", "2554dce163d3e4a7"],
    "int8-w8a8": ["acc13a55086e5f94", "2d5dd8bfc91be9f1", "b77a4993086aefe3", "c57edc78c5ec9772"],
}
"""Fingerprints of the shipped smoke.yaml without the versions of libraries."""


def test_experiment_with_one_load_keeps_its_fingerprints(hardware: Hardware, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "libraries", lambda *_: {})
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
