"""What `plan` says before anything is done."""

from typing import Any

import pytest

from flows.cli import DONE, main


@pytest.mark.usefixtures("built", "hardware")
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("load.starts=2", "4 repeats; starts of each engine: 2, of all engines: 8"),
        ("load.control=false", "4 repeats; starts of each engine: 1, of all engines: 3"),
        ("load.repeats=auto", "4 to 12 repeats; starts of each engine: 1, of all engines: 4"),
    ],
)
def test_plan_says_what_turns_with_the_base_cost(experiment_file: Any, capfd: Any, setting: str, words: str) -> None:
    assert main(["plan", str(experiment_file()), "--set", setting]) == DONE
    assert words in " ".join(capfd.readouterr().out.split())
