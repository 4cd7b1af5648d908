"""How often a load is repeated, and with how many starts of the engines."""

from typing import Any

import pytest
from pydantic import ValidationError

from configs.load import ConcurrentLoad


def load(**asked: Any) -> ConcurrentLoad:
    return ConcurrentLoad.model_validate({"kind": "concurrent", "streams": [1], **asked})


@pytest.mark.parametrize(
    ("asked", "accelerator", "starts"),
    [
        ({}, "cpu", [0, 0, 0, 0]),
        ({}, "cuda", [0, 0, 1, 1]),
        ({"repeats": 1}, "cuda", [0]),
        ({"repeats": 5, "starts": 2}, "cpu", [0, 0, 1, 1, 1]),
        ({"repeats": 4, "starts": 4}, "cpu", [0, 1, 2, 3]),
        ({"repeats": "auto", "max_repeats": 10, "starts": 2}, "cpu", [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        ({"repeats": "auto", "max_repeats": 8, "starts": 3}, "cpu", [0, 1, 2, 2, 3, 4, 5, 5]),
        ({"repeats": "auto", "max_repeats": 8}, "cpu", [0] * 8),
    ],
)
def test_repeats_are_spread_over_starts(asked: dict[str, Any], accelerator: str, starts: list[int]) -> None:
    found = load(**asked)
    assert [found.start_of(repeat, accelerator) for repeat in range(found.looks[-1])] == starts
    assert (found.repeats_a_start(accelerator) is None) == (len(set(starts)) == 1)


def test_more_starts_with_more_repeats_leave_those_that_were_made_where_they_are() -> None:
    few, many = load(repeats=4, starts=2), load(repeats=8, starts=4)
    assert few.repeats_a_start("cpu") == many.repeats_a_start("cpu")
    assert [many.start_of(repeat, "cpu") for repeat in range(4)] == [few.start_of(repeat, "cpu") for repeat in range(4)]


def test_repeats_that_end_by_themselves_are_looked_at_after_every_four() -> None:
    assert load(repeats="auto").looks == (4, 8, 12)
    assert load(repeats="auto", max_repeats=10).looks == (4, 8, 10)
    assert load(repeats=5).looks == (5,)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"repeats": 3, "starts": 4}, "starts: 4 exceeds the 3 repeats"),
        ({"repeats": "auto", "starts": 5}, "starts: 5 exceeds the 4 repeats"),
        ({"repeats": 3, "max_repeats": 9}, "max_repeats: 9 has no effect with repeats 3; set repeats: auto"),
        ({"repeats": "auto", "max_repeats": 5}, "greater than or equal to 8"),
    ],
)
def test_starts_and_repeats_that_do_not_fit_are_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        load(**asked)
