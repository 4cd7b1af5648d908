"""What `plan` says before anything is done."""

from typing import Any

import pytest
from tests_support import benchmark

from configs.loading import load_experiment
from flows.cli import DONE, main
from flows.experiment import planned
from flows.store.records import Store


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


@pytest.mark.usefixtures("built", "hardware")
def test_plan_says_what_has_changed_and_not_what_is_yet_to_do(experiment_file: Any, capfd: Any) -> None:
    path = experiment_file()
    plan = planned(load_experiment(path))
    store, variant = Store.of(plan.experiment.storage), plan.variants[-1]
    with store.writing(variant.benchmarks[0]) as draft:
        draft.result = benchmark([], [])
    assert main(["plan", str(path)]) == DONE
    assert "changed since" not in capfd.readouterr().out, "the other repeats were never made"
    assert main(["plan", str(path), "--set", "load.duration_s=2"]) == DONE
    assert "benchmark; changed since: settings.load.duration_s (fp8-dynamic)" in capfd.readouterr().out
