"""The plan: what a step is named by."""

from typing import Any

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
