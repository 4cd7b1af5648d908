"""Whether what is asked of a model fits into its context: found by plan, and said after an evaluation."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests_support import write_model

from actors.artifacts import Evaluation, Prompts, TaskScores
from configs.accuracy import Task
from flows.cli import BAD_INPUT, DONE, main
from flows.planning import prompts, stock_tasks

pytestmark = pytest.mark.usefixtures("hardware", "built")


def planned(path: Path, capfd: Any, *overrides: str) -> tuple[int, str]:
    """The exit code of a plan, and what it said on stderr."""
    arguments = [word for override in overrides for word in ("--set", override)]
    code = main(["plan", str(path), *arguments])
    return code, capfd.readouterr().err


def test_context_longer_than_the_models_positions_is_refused(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    model = write_model(tmp_path / "model")
    (model / "config.json").write_text(json.dumps({"model_type": "fake", "max_position_embeddings": 128}))
    path = experiment_file(model={"kind": "path", "path": str(model)})
    code, line = planned(path, capfd, "serving.max_model_len=256")
    assert (code, line.count("\n")) == (BAD_INPUT, 1)
    assert "serving.max_model_len: 256 tokens requested, the model's config.json has 128 positions; set it to" in line
    assert planned(path, capfd, "serving.max_model_len=128")[0] == DONE


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
        ({"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", "factor": 4.0}}, None),
        ({"max_position_embeddings": 4096, "rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, None),
        ({"n_positions": 1024, "n_ctx": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 8192}, "max_position_embeddings": 77}, 8192),
        ({"max_position_embeddings": 2048, "model_max_length": 8192}, None),
        ({"hidden_size": 64}, None),
    ],
)
def test_positions_are_what_the_configuration_says_unless_they_can_be_stretched(
    config: dict[str, Any], positions: int | None
) -> None:
    assert prompts.positions_of(config) == positions


def test_answer_that_leaves_no_room_for_a_prompt_is_refused(
    experiment_file: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    long = {
        "task": "long",
        "metric_list": [{"metric": "exact_match"}],
        "generation_kwargs": {"max_gen_toks": 1280},
    }
    monkeypatch.setattr(stock_tasks, "kinds", lambda _: {"long": "task"})
    monkeypatch.setattr(stock_tasks, "data_sets", lambda *_: set())
    monkeypatch.setattr(stock_tasks, "definitions", lambda *_: [long])
    tasks = ["everyday_science", "long"]
    code, line = planned(experiment_file(accuracy={"tasks": tasks}), capfd, "serving.max_model_len=1024")
    assert (code, line.count("\n")) == (BAD_INPUT, 1)
    assert "accuracy.tasks.1: 'long' generates up to 1280 tokens, and serving.max_model_len 1024 leaves no room" in line
    shorter = [tasks[0], {"name": "long", "gen_kwargs": {"max_gen_toks": 512}}]
    path = experiment_file(accuracy={"tasks": shorter})
    assert planned(path, capfd, "serving.max_model_len=1024")[0] == DONE


def test_longest_answer_is_by_the_name_that_lm_eval_takes_first() -> None:
    settings = {"generation_kwargs": {"max_new_tokens": 32, "max_gen_toks": 64}}
    assert prompts.longest_answer(settings, Task(name="t")) == 64
    assert prompts.longest_answer({"output_type": "multiple_choice", **settings}, Task(name="t")) is None
    assert prompts.longest_answer({}, Task(name="t")) is None


def test_remarks_say_what_was_cut_left_out_and_has_no_value() -> None:
    scores = TaskScores(metrics={}, documents=400, cut=12, split=3, unknown=1)
    how = Prompts(2048, (), True, {"repetition_penalty": 1.05, "top_k": 20})
    assert list(prompts.remarks(Evaluation({"long": scores}, how))) == [
        "12 of 400 documents of long are longer than 2048 tokens with their answer: their beginning is cut",
        "3 of 400 documents of long are longer than 2048 tokens: each is read in several windows",
        "1 of 400 documents of long have no value of a metric, and are left out of it",
        "the chat template refuses system messages: descriptions of tasks are left out",
        "evaluated without the sampling settings of generation_config.json (repetition_penalty 1.05, top_k 20)",
    ]


def test_remarks_are_none_where_all_was_as_one_expects() -> None:
    assert not list(prompts.remarks(Evaluation({"t": TaskScores(metrics={}, documents=4)})))
