"""Experiment files: the shipped ones load, and a mistake gets one line that says what to do."""

from pathlib import Path
from typing import Any

import pytest

from configs import recipes
from configs.base import REPOSITORY, UserError
from configs.loading import load_experiment
from configs.yaml_files import Malformed

SHIPPED = sorted((REPOSITORY / "configs/experiments").glob("*.yaml"))
DEMO = REPOSITORY / "configs/experiments/smollm2-cpu.yaml"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_experiment_loads_under_its_own_name(path: Path) -> None:
    assert load_experiment(path).name == path.stem


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("modle=3", ["modle", "unknown key", "did you mean 'model'"]),
        ("load.durations=3", ["durations", "did you mean 'duration_s'"]),
        ("schemes.0.groupsize=3", ["groupsize", "unknown key", "smoothquant"]),
        ("schemes.0.kind=int9", ["'int9' is not a kind", "fp8-dynamic", "int4-w4a16", "recipe"]),
        ("calibration.source.kind=web", ["'web' is not a kind", "local", "hub"]),
        ("load.duration_s=soon", ["load", "duration_s", "'soon'"]),
        ("serving.port=99999", ["serving.port", "99999", "65535"]),
        ("schemes.1.group_size=1", ["group_size", "1", "16"]),
        ("load.prompt_tokens=100000", ["max_model_len", "100000"]),
        ("calibration=null", ["calibration", "int8-w8a8", "needs it"]),
        ("schemes.1.name=int8-w8a8", ["'int8-w8a8' is used twice"]),
        ("schemes.1.name=base", ["'base' is reserved"]),
        ("name=null", ["name"]),
        ("load.streams=[]", ["streams"]),
        ("nothing", ["--set nothing", "KEY=VALUE"]),
        ("schemes.7.kind=recipe", ["'7' must be a position"]),
        ("name.x=1", ["name"]),
        ("serving.gpu_share=0.5", ["gpu_memory_utilization", "0.9", "gpu_share of 0.5", "lower it"]),
        ("quantizing.gpus=2", ["quantizing.gpus", "exceeds the 1 of an engine"]),
    ],
)
def test_mistake_in_a_field_gets_one_helpful_line(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_experiment(DEMO, [override])
    message = str(caught.value)
    assert "\n" not in message
    assert not [word for word in words if word not in message], message


@pytest.mark.parametrize(
    ("content", "word"),
    [("a: [", "not valid YAML"), ("- 1", "mapping"), ("", "mapping"), ("a: 1\x00", "not valid YAML")],
)
def test_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str, word: str) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=word):
        load_experiment(path)


def test_missing_file_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file.*smoke\.yaml"):
        load_experiment(tmp_path / "none.yaml")


def test_override_changes_a_nested_field() -> None:
    changed = load_experiment(DEMO, ["schemes.0.smoothquant=0.5", "load.streams=[2]", "accuracy.tasks.0.limit=7"])
    assert changed.schemes[0].smoothquant == 0.5  # type: ignore[union-attr]
    assert changed.load.points == (2.0,)
    assert changed.accuracy.tasks[0].limit == 7


def test_relative_paths_start_at_the_repository() -> None:
    calibration = load_experiment(DEMO).calibration
    assert calibration is not None
    assert calibration.source.path.is_file()  # type: ignore[union-attr]


def test_name_of_a_workload_or_of_an_argument_makes_no_path_of_what_it_holds(experiment_file: Any) -> None:
    load = {"kind": "concurrent", "streams": [1]}
    named = load_experiment(
        experiment_file(load=None, workloads={"data_files": load, "path": load}, serving={"engine_args": {"path": "x"}})
    )
    assert [workload.kind for workload in named.workloads.values()] == ["concurrent", "concurrent"]
    assert named.serving.engine_args == {"path": "x"}


def test_message_is_one_line_whatever_it_repeats(experiment_file: Any) -> None:
    with pytest.raises(UserError) as caught:
        load_experiment(experiment_file(), ["a\nb\x1b[31m=1"])
    assert str(caught.value).isprintable()
    with pytest.raises(Malformed) as refused:
        recipes.checked({"a_stage": {"b_modifiers": {"GPTQModifier": {"a\nb\x1b[31m": 1}}}})
    assert str(refused.value).isprintable()


def test_key_of_the_last_version_is_taken_with_a_warning(experiment_file: Any, capfd: Any) -> None:
    load = {"kind": "concurrent", "streams": [1]}
    new = load_experiment(experiment_file(load={**load, "colocate": "never"}))
    assert load_experiment(experiment_file(load={**load, "company": "never"})) == new
    assert "warning: load.company is now called colocate" in capfd.readouterr().err
    with pytest.raises(UserError, match="workloads"):
        load_experiment(experiment_file(load=None, workloads={"a\x1b[31m": {**load, "company": "never"}}))
    assert "warning: workloads.a\\x1b[31m.company is now called colocate" in capfd.readouterr().err
    with pytest.raises(UserError, match=r"load\S*company"):
        load_experiment(experiment_file(load={**load, "company": "never", "colocate": "auto"}))
