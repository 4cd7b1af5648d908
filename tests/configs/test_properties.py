"""Laws of all that people write (`tests/properties`), tried on a few inputs; `tests/bench/fuzz_inputs.py` goes on."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import experiments, loading, recipes
from properties.briefly import BRIEFLY
from properties.values import Route, in_yaml

from configs.experiment import Experiment


@pytest.mark.parametrize("shipped", experiments.SHIPPED, ids=lambda file: file.stem)
def test_shipped_experiment_that_was_written_down_is_the_same(tmp_path: Path, shipped: Path) -> None:
    assert loading.loads_or_says_why(tmp_path / "experiment.yaml", shipped.read_bytes())


@BRIEFLY
@given(experiments.whole().map(in_yaml) | experiments.sound_or_odd().map(in_yaml) | experiments.texts())
def test_file_is_an_experiment_or_one_line_says_what_is_wrong(tmp_path: Path, content: bytes) -> None:
    loading.loads_or_says_why(tmp_path / "experiment.yaml", content)


@BRIEFLY
@given(st.sampled_from(experiments.SHIPPED), experiments.overrides())
def test_words_behind_set_change_an_experiment_or_are_refused(tmp_path: Path, shipped: Path, words: list[str]) -> None:
    loading.loads_or_says_why(tmp_path / "experiment.yaml", shipped.read_bytes(), words)


@BRIEFLY
@given(experiments.set_in_place())
def test_value_that_is_set_does_what_it_does_in_the_file(
    tmp_path: Path, drawn: tuple[dict[str, Any], Route, Any]
) -> None:
    loading.set_equals_the_file(tmp_path / "experiment.yaml", *drawn)


@BRIEFLY
@given(recipes.recipes())
def test_recipe_can_be_recorded_or_is_refused(tmp_path: Path, content: bytes) -> None:
    loading.recipe_is_checked(tmp_path / "recipe.yaml", content)


@BRIEFLY
@given(recipes.rows())
def test_calibration_rows_are_texts_or_refused(tmp_path: Path, content: bytes) -> None:
    loading.texts_are_read(tmp_path / "rows.jsonl", content)


def test_law_is_broken_where_a_message_names_no_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "experiment.yaml"
    monkeypatch.setattr("configs.loading._one_line", lambda _: "something is wrong")
    with pytest.raises(AssertionError, match="something is wrong"):
        loading.loads_or_says_why(file, b"name: 1")


def test_law_is_broken_where_what_is_written_down_loads_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Experiment.model_dump
    monkeypatch.setattr(Experiment, "model_dump", lambda self, **_: {**written(self, mode="json"), "retries": 7})
    with pytest.raises(AssertionError):
        loading.loads_or_says_why(tmp_path / "experiment.yaml", experiments.SHIPPED[0].read_bytes())
