"""Every shipped experiment is planned as it is, without its weights or a network, on the hardware it is for."""

from pathlib import Path
from typing import Any

import pytest
from tests_support import BIG_CPU, H100

from actors import environments
from configs.base import REPOSITORY
from configs.experiment import Experiment
from configs.loading import load_experiment
from flows import cluster
from flows.cli import DONE, main
from flows.planning import gpu_memory, judgeable, stock_tasks
from flows.planning.preflight import check_inputs

FILES = sorted((REPOSITORY / "configs/experiments").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _a_machine_that_has_nothing(built: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its store and its hub cache are empty, the hub is out of reach, the GPU is free; the task files are those of the
    environment that is built here."""
    real = environments.environment
    if not next(real("inference", "cpu").folder.glob("lib/python*/site-packages/lm_eval/tasks"), None):
        pytest.skip("the inference environment is not built")
    monkeypatch.setattr(
        environments, "environment", lambda role, kind=None: real(role, "cpu" if role == "inference" else kind)
    )
    monkeypatch.setattr(cluster, "this_machine", lambda asked: H100 if asked.accelerator == "cuda" else BIG_CPU)
    monkeypatch.setattr(gpu_memory, "check", lambda *_: None)
    for name, value in {"MSF_STORE": tmp_path / "store", "HF_HOME": tmp_path / "hub"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def shipped(file: Path) -> Experiment:
    return load_experiment(file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_shipped_experiment_is_planned(file: Path, capfd: Any) -> None:
    assert main(["plan", str(file)]) == DONE
    told = capfd.readouterr()
    assert "to do" in told.out and told.err == ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_shipped_tasks_are_judged_by_what_is_asked_for(file: Path) -> None:
    experiment = shipped(file)
    check_inputs(experiment, "cuda" if experiment.accelerator == "cuda" else "cpu")
    for task in experiment.accuracy.tasks:
        found = stock_tasks.definitions(task.name, "cpu")
        assert found or (REPOSITORY / f"configs/tasks/{task.name}").is_dir()
        assert {judgeable.judged_by([one], task) for one in found} <= {"mean"}


def test_cards_are_asked_with_the_shots_and_filters_that_they_publish() -> None:
    """RedHatAI's cards of Llama-3.1-8B-Instruct, Open LLM Leaderboard v1: shots, and whether as a chat."""
    accuracy = shipped(REPOSITORY / "configs/experiments/llama-3.1-8b-cards.yaml").accuracy
    assert {task.name: (task.fewshot, task.filter or task.metric) for task in accuracy.tasks} == {
        "mmlu_llama": (5, None),
        "mmlu_cot_llama": (0, None),
        "arc_challenge_llama": (0, None),
        "gsm8k_llama": (8, "strict_match"),
        "hellaswag": (10, "acc_norm"),
        "winogrande": (5, None),
        "truthfulqa_mc2": (0, None),
    }
    assert {task.recovery for task in accuracy.tasks} == {97}
    assert accuracy.chat_template
    plain = {task.name for task in accuracy.tasks if task.chat_template is False}
    assert plain == {"hellaswag", "winogrande", "truthfulqa_mc2"}


def test_give_me_bf16_answers_for_each_kind_of_deployment() -> None:
    experiment = shipped(REPOSITORY / "configs/experiments/llama-3.1-8b-give-me-bf16.yaml")
    assert {name: load.points[0] for name, load in experiment.loads.items()} == {"synchronous": 1, "asynchronous": 64}
    assert [scheme.kind for scheme in experiment.schemes] == ["fp8-dynamic", "int8-w8a8", "int4-w4a16"]
