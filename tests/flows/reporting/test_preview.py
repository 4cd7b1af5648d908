"""What `plan` says before anything is done."""

from typing import Any

import pytest

from flows.cli import DONE, main


@pytest.mark.usefixtures("built", "hardware")
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("load.starts=2", "4 repeats; each engine is started 2 times, 8 engine starts in all"),
        ("load.control=false", "4 repeats; each engine is started 1 times, 3 engine starts in all"),
        ("load.repeats=auto", "4 to 12 repeats; each engine is started 1 times, 4 engine starts in all"),
    ],
)
def test_plan_says_what_turns_with_the_base_cost(experiment_file: Any, capfd: Any, setting: str, words: str) -> None:
    assert main(["plan", str(experiment_file()), "--set", setting]) == DONE
    assert words in " ".join(capfd.readouterr().out.split())
