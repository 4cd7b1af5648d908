"""Types as JSON: what is written can be read, and nothing is read that is not of its type."""

from dataclasses import replace
from typing import Any

import pytest

from actors.artifacts import Evaluation, Made, Prompts, ReferenceAnswer, Score, TaskScores, Wheel
from actors.as_json import Misfit, from_json, to_json

MADE = Made(reference=(ReferenceAnswer((1,), (2,), "b", (None, -0.5)),), seconds={"load": 1.5})
SCORED = Evaluation({"t": TaskScores(metrics={"acc": 0.5}, scores=(Score("acc", "none", "mean", True),), documents=2)})


@pytest.mark.parametrize(
    "value",
    [MADE, replace(MADE, wheel=Wheel("a.whl", "0a"), peak_device_bytes=0), SCORED, replace(SCORED, prompts=Prompts(8))],
)
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    assert from_json(type(value), to_json(value)) == value


def test_field_that_is_none_is_left_out_and_a_none_in_a_list_is_not() -> None:
    content = to_json(MADE)
    assert content.keys() == {"reference", "seconds"}
    assert content["reference"][0]["logprobs"] == (None, -0.5)


def test_key_of_a_later_version_is_ignored() -> None:
    assert from_json(Evaluation, to_json(SCORED) | {"colour": "blue"}) == SCORED


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"seconds": {}}, "has no `reference` that can be read"),
        ({"reference": [], "seconds": {"load": "1.5"}}, "has no `seconds.load` that can be read"),
        ({"reference": [{"prompt_ids": [1.5]}], "seconds": {}}, "has no `reference.0.prompt_ids.0` that can be read"),
        ({"reference": [], "seconds": {}, "wheel": {"name": "a"}}, "has no `wheel.sha256` that can be read"),
        ([], "cannot be read"),
    ],
)
def test_first_field_that_does_not_fit_is_named(content: Any, words: str) -> None:
    with pytest.raises(Misfit) as misfit:
        from_json(Made, content)
    assert str(misfit.value) == words
