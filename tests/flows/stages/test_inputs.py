"""Files that are edited between planning and doing: a record never names what was not used."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.hardware import Hardware
from configs.loading import load_experiment
from flows import experiment
from flows.cli import DONE, FAILED, main
from flows.planning import plan

pytestmark = pytest.mark.usefixtures("fake_engines")
RECIPE = {"own_stage": {"own_modifiers": {"QuantizationModifier": {"targets": ["Linear"], "scheme": "W8A16"}}}}
TASK = {
    "task": "own",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "questions.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{text}}",
    "doc_to_choice": ["yes", "no"],
    "doc_to_target": 0,
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """One of every kind, by what it is."""
    folder = tmp_path / "given"
    (folder / "task").mkdir(parents=True)
    texts = {
        "recipe": ("recipe.yaml", yaml.safe_dump(RECIPE)),
        "calibration": ("text.txt", "some words to calibrate with\n"),
        "task": ("task/own.yaml", yaml.safe_dump(TASK)),
        "documents": ("task/questions.jsonl", '{"text": "some words"}\n{"text": "more words"}\n'),
    }
    for name, text in texts.values():
        (folder / name).write_text(text)
    return {what: folder / name for what, (name, _) in texts.items()}


@pytest.fixture
def own_experiment(experiment_file: Any, files: dict[str, Path]) -> Path:
    """An experiment made from all of them."""
    path: Path = experiment_file(
        schemes=[{"kind": "recipe", "name": "own", "path": str(files["recipe"])}],
        calibration={
            "source": {"kind": "local", "path": str(files["calibration"])},
            "samples": 1,
            "sequence_length": 8,
            "packed": False,
        },
        accuracy={"tasks": [{"name": "own", "path": str(files["task"])}], "control": False},
    )
    return path


@pytest.fixture
def once_planned(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Takes what happens once, when the next run is planned and nothing of it is done yet."""
    real = experiment.services

    def patch(edit: Callable[[], Any]) -> None:
        def edited(run: Any) -> AbstractContextManager[Any]:
            monkeypatch.setattr(experiment, "services", real)
            edit()
            return real(run)

        monkeypatch.setattr(experiment, "services", edited)

    return patch


def records(path: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in (path.parent / "store/records" / kind).glob("*/record.json")]


def reasons(path: Path) -> dict[str, str]:
    decision: Any = json.loads((path.parent / "store/experiments/tiny/decision.json").read_text())
    return dict(decision["reasons"])


def test_recipe_that_is_edited_is_applied_as_it_was_planned(
    own_experiment: Path, files: dict[str, Path], once_planned: Any
) -> None:
    other = json.loads(json.dumps(RECIPE).replace("W8A16", "W4A16"))
    once_planned(lambda: files["recipe"].write_text(yaml.safe_dump(other)))
    assert main(["run", str(own_experiment)]) == DONE
    (made,) = records(own_experiment, "quantize")
    (applied,) = (own_experiment.parent / "store/records/quantize").glob("*/checkpoint/recipe.json")
    assert made["identity"]["settings"]["recipe"] == json.loads(applied.read_text()) == RECIPE


@pytest.mark.parametrize(
    ("what", "kind"), [("calibration", "quantize"), ("documents", "evaluate"), ("task", "evaluate")]
)
def test_file_that_is_edited_fails_its_step_and_leaves_no_record(
    own_experiment: Path, files: dict[str, Path], once_planned: Any, what: str, kind: str
) -> None:
    once_planned(lambda: files[what].write_text(files[what].read_text() + "\n"))
    assert main(["run", str(own_experiment)]) == FAILED
    assert records(own_experiment, kind) == []
    assert (
        f"{files[what]} has changed since this run was planned; start the run again" in reasons(own_experiment)["own"]
    )
    assert main(["run", str(own_experiment)]) == DONE, "planned anew it works"


def test_settings_are_what_is_executed_without_where_files_lie(own_experiment: Path, hardware: Hardware) -> None:
    made = plan.make(load_experiment(own_experiment), hardware)
    for step in made.steps:
        for name, value in step.local.items():
            if name in step.settings:
                assert _without_more(value, step.settings[name]) == step.settings[name]
    assert {name for step in made.steps for name in step.local} == {
        "allow_code",
        "calibration",
        "declared_weight_bits",
        "tasks",
    }


def _without_more(whole: Any, part: Any) -> Any:
    """The whole, without keys that the part does not have."""
    if isinstance(part, dict):
        return {name: _without_more(whole[name], value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return type(part)(_without_more(one, other) for one, other in zip(whole, part, strict=True))
    return whole
