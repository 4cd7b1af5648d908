"""What `plan` says of the margins that documents can decide."""

from typing import Any

import pytest

from configs.hardware import Hardware
from configs.loading import load_experiment
from flows.planning import plan as planning
from flows.planning import resolution
from flows.statistics.sample_size import documents_for, smallest_margin


def notes(file: Any, hardware: Hardware, tasks: list[Any], drop: float, counted: dict[str, int]) -> list[str]:
    experiment = load_experiment(file(accuracy={"tasks": tasks}, decision={"constraints": {"max_accuracy_drop": drop}}))
    return resolution.notes(planning.make(experiment, hardware), counted)


def test_margin_that_documents_cannot_decide_is_warned_of(experiment_file: Any, hardware: Hardware) -> None:
    found = notes(experiment_file, hardware, [{"name": "everyday_science", "limit": 200}], 0.01, {})
    least = [smallest_margin(200, share, 0.95) for share in (0.03, 0.08)]
    assert found[0].startswith("accuracy: everyday_science: WARNING: 200 documents can show")
    assert f"stays within {least[0]:.3f} or {least[1]:.3f}; the margin of 0.01 can hardly be met" in found[0]
    assert found[-1].startswith("accuracy: assumed above: 3 or 8 % of the answers differ")


@pytest.mark.parametrize(("margin", "said"), [(10, "; the margin is 0.1"), (5, "be met by an 8-bit form only")])
def test_task_s_own_margin_is_what_its_documents_are_held_against(
    experiment_file: Any, hardware: Hardware, margin: float, said: str
) -> None:
    task = {"name": "everyday_science", "margin": margin}
    (told, _) = notes(experiment_file, hardware, [task], 0.01, {"everyday_science": 200})
    assert said in told and ("WARNING" in told) == (margin == 5)


def test_documents_that_are_not_known_yet_are_asked_for(experiment_file: Any, hardware: Hardware) -> None:
    (told, _) = notes(experiment_file, hardware, ["everyday_science"], 0.02, {})
    needed = [documents_for(0.02, share, 0.95) for share in (0.03, 0.08)]
    assert f"a margin of 0.02 needs about {needed[0]:,} or {needed[1]:,} documents" in told


def test_nothing_is_said_of_a_perplexity_or_a_recovery(experiment_file: Any, hardware: Hardware) -> None:
    tasks = ["everyday_text", {"name": "everyday_science", "recovery": 99}]
    assert notes(experiment_file, hardware, tasks, 0.02, {}) == []
