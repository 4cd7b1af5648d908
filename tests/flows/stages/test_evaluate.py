"""Accuracy as a stage of a run on fake engines."""

from typing import Any

import pytest

from flows.cli import DONE, main


@pytest.mark.usefixtures("fake_engines")
def test_code_that_is_allowed_is_evaluated_where_it_may_run(experiment_file: Any) -> None:
    path = experiment_file()
    assert main(["run", str(path), "--set", "accuracy.allow_code=true"]) == DONE
    records = (path.parent / "store/records/evaluate").glob("*/record.json")
    told = [(file.parent / "allow_code").read_text() for file in records]
    assert told == ["1"] * 3, "of base, control and variant"
