"""Sweeps over schemes and ways to serve together, on fake engines: what they share, who wins, what a search keeps."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli import DONE, main

pytestmark = pytest.mark.usefixtures("fake_engines")

BATCHES = {"max_num_seqs": [8, 16]}


def kept(path: Path, name: str) -> Any:
    return json.loads((path.parent / f"store/experiments/tiny/{name}").read_text())


def records(path: Path, kind: str) -> int:
    return len(list((path.parent / "store/records").glob(f"{kind}/*/record.json")))


def test_scheme_that_beats_the_base_but_not_the_best_tuned_base_is_not_deployed(
    experiment_file: Any, capfd: Any
) -> None:
    space = [{"kind": "fp8-dynamic", "serving": BATCHES}]
    path = experiment_file(schemes=[], sweep={"space": space})
    assert main(["plan", str(path)]) == DONE
    shown = capfd.readouterr().out
    assert "the base is tried with the engine settings of sweep.space.0, too" in shown
    assert "fp8-dynamic-seqs16: fp8-dynamic, served with max_num_seqs 16" in shown
    assert main(["run", str(path)]) == DONE
    found = kept(path, "decision.json")
    names = {"base", *(f"{of}-seqs{n}" for of in ("fp8-dynamic", "base") for n in (8, 16))}
    leads = {one["name"]: one["against_base"] for one in found["judged"]}
    assert set(leads) == names
    assert leads["fp8-dynamic-seqs16"]["sure"] > 2, "the base as it is served otherwise is beaten"
    assert (found["answer"], found["recommended"]) == ("deploy", "base-seqs16")
    assert "base-seqs16 has the better throughput" in found["reasons"]["fp8-dynamic-seqs16"]
    assert (records(path, "prepare"), records(path, "quantize")) == (1, 1), "a checkpoint is made once for all ways"
    assert records(path, "evaluate") == 3, "the base's with its control, and the scheme's: batches change no answer"


def test_search_over_both_keeps_how_its_variants_are_served(experiment_file: Any, capfd: Any) -> None:
    space = [{"kind": "fp8-dynamic", "serving": {"max_num_seqs": {"low": 8, "high": 16, "step": 8}}}]
    path = experiment_file(schemes=[], sweep={"space": space, "search": "optuna", "samples": 4})
    assert main(["run", str(path)]) == DONE
    found = {variant["name"]: variant for variant in kept(path, "searched.json")["variants"]}
    assert set(found) == {f"{of}-seqs{n}" for of in ("fp8-dynamic", "base") for n in (8, 16)}
    assert found["base-seqs8"]["serving"] == {"max_num_seqs": 8} and found["base-seqs8"]["scheme"] is None
    assert kept(path, "decision.json")["recommended"] == "base-seqs16"
    made = records(path, "benchmark")
    assert main(["run", str(path)]) == DONE
    assert records(path, "benchmark") == made
    capfd.readouterr()
    assert main(["deploy", str(path), "--print"]) == DONE
    assert "--max-num-seqs=16" in capfd.readouterr().out


def test_race_loads_who_is_shown_to_be_behind_for_one_start_alone(experiment_file: Any) -> None:
    load = {"kind": "concurrent", "streams": [1, 2], "prompt_tokens": 8, "output_tokens": 8, "duration_s": 1}
    path = experiment_file(
        schemes=[],
        sweep={"space": [{"kind": "fp8-dynamic", "serving": BATCHES}]},
        load={**load, "repeats": 3, "starts": 3},
        racing={"looks": [0.1], "starts": 1},
    )
    assert main(["run", str(path)]) == DONE
    found = kept(path, "decision.json")
    assert (found["answer"], found["recommended"]) == ("deploy", "base-seqs16")
    behind = {stop["name"]: stop["reason"] for stop in found["stopped"]}
    assert set(behind) == {"base-seqs8", "fp8-dynamic-seqs8", "fp8-dynamic-seqs16"}
    assert all("base-seqs16 already passes and is shown to lead by more (3.00x" in why for why in behind.values())
    assert records(path, "benchmark") == 2 * 3 + 3 * 1
    assert records(path, "evaluate") == 2 + 1 + 1 + 1 + 1, "slices and control of the base, a slice of FP8, two proxies"
    assert main(["run", str(path)]) == DONE
    assert kept(path, "decision.json") == found and records(path, "benchmark") == 9
