"""A search by Optuna: what it comes upon is measured like all else, kept, and suggested again in the same order."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli import BAD_INPUT, DONE, main

SPACE = [
    {"kind": "int8-w8a8", "algorithm": ["rtn"], "smoothquant": {"low": 0.2, "high": 0.8, "step": 0.1}},
    {"kind": "fp8-dynamic"},
]
CALIBRATION = {"source": {"kind": "local", "path": "README.md"}, "samples": 1, "sequence_length": 8}


def searching(samples: int, **more: Any) -> dict[str, Any]:
    sweep = {"space": SPACE, "search": "optuna", "samples": samples, **more}
    return {"schemes": [], "sweep": sweep, "calibration": CALIBRATION}


def experiment(path: Path, name: str) -> Any:
    return json.loads((path.parent / f"store/experiments/tiny/{name}").read_text())


def records(path: Path) -> set[str]:
    return {p.parent.name for p in (path.parent / "store/records").glob("*/*/record.json")}


@pytest.mark.usefixtures("fake_engines")
def test_search_that_was_cut_short_comes_upon_the_same_and_measures_only_the_rest(
    experiment_file: Any, capfd: Any
) -> None:
    path = experiment_file(**searching(2))
    assert main(["run", str(path)]) == DONE
    first, before = [scheme["name"] for scheme in experiment(path, "searched.json")["variants"]], records(path)
    assert len(first) == 2
    assert {variant["name"] for variant in experiment(path, "decision.json")["judged"]} == {"base", *first}
    capfd.readouterr()
    assert main(["status", str(path)]) == DONE
    assert all(name in capfd.readouterr().out for name in first[:1])
    assert main(["clean", "--store", str(path.parent / "store")]) == DONE
    assert "nothing to remove" in capfd.readouterr().out, "what a search came upon is in use"

    experiment_file(**searching(4))
    assert main(["report", str(path)]) == DONE
    decision = experiment(path, "decision.json")
    assert decision["sentence"].startswith("Not measured in full: the search's next variants. So far: Not enough")
    assert main(["run", str(path)]) == DONE
    more = [scheme["name"] for scheme in experiment(path, "searched.json")["variants"]]
    assert (more[:2], len(set(more))) == (first, 4)
    assert records(path) > before

    done = records(path)
    assert main(["run", str(path)]) == DONE
    assert records(path) == done


@pytest.mark.usefixtures("fake_engines")
def test_search_for_more_than_the_space_has_is_refused(experiment_file: Any, capfd: Any) -> None:
    assert main(["run", str(experiment_file(**searching(9)))]) == BAD_INPUT
    assert "sweep.samples: 9 requested, but the space has 8 different variants" in capfd.readouterr().err


@pytest.mark.usefixtures("fake_engines")
def test_search_with_racing_is_refused(experiment_file: Any, capfd: Any) -> None:
    assert main(["run", str(experiment_file(**searching(2), racing={}))]) == BAD_INPUT
    assert "racing: optuna needs" in capfd.readouterr().err
