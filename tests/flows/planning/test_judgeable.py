"""Which metric of a task is judged, by its file; and that of lm-eval's own tasks nine in ten can be."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors import environments
from configs.accuracy import Accuracy, Task
from configs.base import REPOSITORY, UserError
from flows.planning import judgeable, stock_tasks

GSM8K = {
    "metric_list": [{"metric": "exact_match", "aggregation": "mean"}],
    "filter_list": [{"name": "strict-match"}, {"name": "flexible-extract"}],
    "num_fewshot": 5,
}


GREEDY = {**GSM8K, "generation_kwargs": {"do_sample": False, "temperature": 0.7}}


def metrics(*names: str, **definition: Any) -> dict[str, Any]:
    return {"task": "t", "metric_list": [{"metric": name} for name in names], **definition}


@pytest.mark.parametrize(
    ("definition", "asked", "why"),
    [
        (GSM8K, {}, None),
        (GSM8K, {"filter": "flexible-extract", "fewshot": 0}, None),
        (
            GSM8K,
            {"filter": "maj@8"},
            "has no maj@8 that can be judged; these can be judged: metric: exact_match, filter: strict-",
        ),
        (metrics("acc", "acc_norm"), {"metric": "acc_norm"}, None),
        (
            metrics("acc"),
            {"metric": "acc_norm"},
            "has no acc_norm that can be judged; these can be judged: metric: acc, filter",
        ),
        ({"output_type": "multiple_choice"}, {"metric": "acc_norm"}, None),
        (
            metrics("rouge"),
            {},
            "has rouge (made by unknown) as its first metric, which has no value for a single document; these",
        ),
        (metrics("rouge", "acc"), {"metric": "acc"}, None),
        (
            metrics("acc", unsafe_code=True),
            {},
            "runs code written by the model during evaluation; set ",
        ),
        ({"class": "!Task"}, {}, "is written in Python"),
        (metrics("acc", num_fewshot=0), {"fewshot": 3}, "is fixed at 0 examples"),
        (
            metrics("perplexity"),
            {"margin": 1},
            "is a perplexity (perplexity), for which points have no meaning; set recovery",
        ),
        (metrics("perplexity"), {"recovery": 99}, None),
        (GSM8K, {"gen_kwargs": {"temperature": 0.6}, "seeds": 4}, None),
        (GSM8K, {"seeds": 4}, "answers greedily, so all 4 seeds give the same; set gen_kwargs: {temperature: 0.6}"),
        (GREEDY, {"seeds": 2}, "answers greedily, so all 2 seeds"),
        (GREEDY, {"gen_kwargs": {"temperature": 0.6}, "seeds": 2}, None),
        (
            metrics("acc", output_type="multiple_choice"),
            {"gen_kwargs": {"top_p": 0.9}},
            "scores given answers and generates none: gen_kwargs and seeds have no effect; remove them",
        ),
    ],
)
def test_refusal_says_what_could_be_judged(definition: dict[str, Any], asked: dict[str, Any], why: str | None) -> None:
    found = judgeable.refusal(definition, Task(name="t", **asked))
    assert (found is None) == (why is None) and str(found).startswith(str(why))


def test_task_that_runs_code_is_judged_where_that_is_allowed() -> None:
    humaneval = metrics("!pass_at_k", unsafe_code=True, output_type="generate_until")
    humaneval["metric_list"][0] |= {"aggregation": "mean", "k": [1, 10]}
    assert judgeable.judged_by([humaneval], Task(name="t"), allow_code=True) == "mean"
    assert [score.metric for score in judgeable.scores(humaneval)] == ["pass@1", "pass@10"]
    assert judgeable.refusal(humaneval, Task(name="t", metric="pass@10"), allow_code=True) is None


def test_stock_tasks_that_run_code_are_known_as_such() -> None:
    stock_folder()
    for name in ("humaneval", "humaneval_instruct", "mbpp", "mbpp_instruct", "cruxeval_output", "humaneval_infilling"):
        found = stock_tasks.definitions(name, "cpu")
        with pytest.raises(UserError, match="runs code written by the model"):
            judgeable.judged_by(found, Task(name=name))
        assert judgeable.judged_by(found, Task(name=name), allow_code=True) == "mean"


def test_group_of_several_metrics_is_refused_unless_one_is_named() -> None:
    group = [metrics("acc", "f1", task="one"), metrics("f1", "acc", task="two")]
    with pytest.raises(UserError, match=r"metrics of their own \(acc of one, f1 of two\); name them one by one"):
        judgeable.judged_by(group, Task(name="g"))
    assert judgeable.judged_by(group, Task(name="g", metric="acc")) == "mean"


def test_perplexities_alone_judge_nobody_without_a_recovery() -> None:
    with pytest.raises(UserError, match=r"perplexities alone are shown"):
        judgeable.someone_judges(Accuracy.model_validate({"tasks": ["text"]}), ["perplexity"])
    judgeable.someone_judges(Accuracy.model_validate({"tasks": [{"name": "text", "recovery": 98}]}), ["perplexity"])


def stock_folder() -> Path:
    """lm-eval's folder of tasks, where it is installed."""
    folder = environments.environment("inference", "cpu").folder
    found = next(folder.glob("lib/python*/site-packages/lm_eval/tasks"), None)
    if found is None:
        pytest.skip("the inference environment is not built")
    return found


def test_shipped_experiments_are_judged_by_their_tasks_first_metrics() -> None:
    stock_folder()
    for name in ("llama-3.1-8b", "llama-3.1-8b-sweep", "llama-3.1-8b-workloads"):
        text = (REPOSITORY / f"configs/experiments/{name}.yaml").read_text()
        for task in Accuracy.model_validate(yaml.safe_load(text)["accuracy"]).tasks:
            found = stock_tasks.definitions(task.name, "cpu")
            assert len(found) == (57 if task.name == "mmlu" else 1)
            assert judgeable.judged_by(found, task) == "mean"


def test_nine_in_ten_of_the_stock_tasks_are_judged_by_their_own_first_metric() -> None:
    """What is refused is refused by name: nobody is judged by another metric in its place."""
    folder, refused, count = stock_folder(), Counter[str](), 0
    for file in folder.rglob("*.yaml"):
        definition = stock_tasks.read(file)
        if not isinstance(definition.get("task"), str):
            continue
        count += 1
        if why := judgeable.refusal(definition, Task(name=definition["task"])):
            refused[why.split(";")[0]] += 1
        else:
            first = judgeable.scores(definition)[0]
            assert first.kind and first.filter
    print(f"{count - refused.total()} of {count} stock task files are judged by their own first metric")
    assert refused.total() < 0.1 * count, refused.most_common(10)
