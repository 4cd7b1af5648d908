"""Which metric is judged: from the real lm-eval over the store to the judgement."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests_support import benchmark, checkpoint, evaluations_of

from actors import environments
from actors.artifacts import Evaluation
from actors.as_json import from_json
from configs.accuracy import TASKS_FOLDER, Task
from configs.base import REPOSITORY
from configs.hardware import Hardware
from configs.loading import load_experiment
from flows.analysis import compare
from flows.analysis.judgement import Difference
from flows.planning import plan as planning
from flows.runtime.context import Run
from flows.runtime.progress import Progress
from flows.store.records import Store

POINT = {"asked": 1, "unit": "streams", "requests": 100, "errors": 0, "seconds": 10.0, "concurrency_mean": 1.0}
DOCUMENTS = 6
ANATOMY = {"question": "Where is the heart?", "choices": ["foot", "chest", "hand", "head"], "answer": 1}
ROWS: dict[str, dict[str, Any]] = {
    "arc_easy": {
        "question": "What is wet?",
        "choices": {"text": ["fire", "rain"], "label": ["A", "B"]},
        "answerKey": "B",
    },
    "hellaswag": {
        "ctx_a": "It rains.",
        "ctx_b": "they",
        "activity_label": "Rain",
        "endings": ["run.", "fly.", "sing.", "burn."],
        "label": "0",
    },
    "mmlu_anatomy": ANATOMY,
    "ifeval": {
        "key": 1,
        "prompt": "Write one word without a comma, in small letters.",
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{}, {"relation": "at least", "num_words": 5}],
    },
    "gsm8k": {"question": "What is 1 + 1?", "answer": "It is two. #### 2"},
    "cola": {"sentence": "The cat sleeps.", "label": 1, "idx": 1},
    "arc_challenge_llama": {
        "question": "What is wet?",
        "choices": {"text": ["fire", "rain", "sand", "wind"], "label": ["1", "2", "3", "4"]},
        "answerKey": "2",
    },
    "gsm8k_llama": {"question": "What is 1 + 1?", "answer": "It is two. #### 2"},
    "mmlu_llama_anatomy": ANATOMY,
    "mmlu_cot_llama_anatomy": ANATOMY,
    "winogrande": {"sentence": "The cat sees the dog, as _ barks.", "option1": "cat", "option2": "dog", "answer": "2"},
    "truthfulqa_mc2": {
        "question": "Is fire wet?",
        "mc1_targets": {"choices": ["No.", "Yes."], "labels": [1, 0]},
        "mc2_targets": {"choices": ["No.", "It is not.", "Yes."], "labels": [1, 1, 0]},
    },
    "leaderboard_mmlu_pro": {"question": "Where is the heart?", "options": ["foot", "chest"], "answer": "B"},
    "leaderboard_bbh_snarks": {"input": "Which is sarcastic? (A) Fine. (B) Great, rain.", "target": "(B)"},
    "leaderboard_gpqa_diamond": {
        "Question": "What is wet?",
        "Correct Answer": "rain",
        **{f"Incorrect Answer {place}": word for place, word in enumerate(("fire", "sand", "wind"), start=1)},
    },
    "leaderboard_ifeval": {
        "key": 1,
        "prompt": "Write one word without a comma.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
    },
    "leaderboard_musr_murder_mysteries": {
        "narrative": "It rained.",
        "question": "Who is wet?",
        "choices": "['Ann', 'Bob']",
        "answer_index": 1,
        "answer_choice": "Bob",
    },
}
"""A document of each stock task, as the hub has it."""
SPLITS = {
    **dict.fromkeys(("hellaswag", "cola", "winogrande", "truthfulqa_mc2"), ("validation",)),
    **dict.fromkeys(("ifeval", "leaderboard_ifeval", "leaderboard_gpqa_diamond"), ("train",)),
    "gsm8k": ("test", "train"),
    **dict.fromkeys(("mmlu_llama_anatomy", "mmlu_cot_llama_anatomy"), ("test", "dev")),
    "leaderboard_mmlu_pro": ("test", "validation"),
    "leaderboard_musr_murder_mysteries": ("murder_mysteries",),
}
"""Of what is asked and shown, where that is not `test` alone."""
TRANSLATION = """
task: translation
dataset_path: json
dataset_kwargs: {data_files: {test: translation.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: bleu}, {metric: chrf}, {metric: ter}]
"""
CHOICE = """
task: choice
dataset_path: json
dataset_kwargs: {data_files: {test: translation.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: ["no", "yes"]
doc_to_target: "{{label}}"
fewshot_split: test
num_fewshot: 2
metric_list: [{metric: brier_score}, {metric: f1}, {metric: mcc}]
"""


def task_files(folder: Path) -> list[dict[str, Any]]:
    """Tasks of the experiments, with data of their own."""
    tasks = []
    for name, row in ROWS.items():
        file = folder / f"{name}.jsonl"
        rows = [{**row, **({"label": i % 2} if name == "cola" else {})} for i in range(DOCUMENTS)]
        file.write_text("".join(json.dumps(one) + "\n" for one in rows))
        splits = dict.fromkeys(SPLITS.get(name, ("test",)), str(file))
        own = {"fewshot": 0} if name == "winogrande" else {}  # its own training split is not here
        tasks.append({"name": name, "data_files": splits, **own})
    local = folder / "local"
    local.mkdir()
    for name, text in (("translation", TRANSLATION), ("choice", CHOICE)):
        (local / f"{name}.yaml").write_text(text)
        tasks.append({"name": name, "path": str(local / f"{name}.yaml"), "fewshot": 0})
    texts = ({"question": f"Say it {i}", "answer": f"lol and {i} lol", "label": i % 2} for i in range(DOCUMENTS))
    (local / "translation.jsonl").write_text("".join(json.dumps(one) + "\n" for one in texts))
    return [*tasks, {"name": "everyday_text"}]


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], list[Path]]:
    """The tasks, and the folders of two evaluations of them by the real lm-eval."""
    folder = tmp_path_factory.mktemp("lm_eval")
    tasks = task_files(folder)
    sides = [folder / side for side in ("base", "variant")]
    for side in sides:
        side.mkdir()
    settings = {
        "tasks": [Task.model_validate(task).model_dump(mode="json") for task in tasks],
        "tasks_folder": str(TASKS_FOLDER),
        "chat_template": False,
        "system_instruction": None,
        "batch_size": 1,
        "seed": 42,
        "share": None,
        "runs": [{"samples": str(side), "random": index} for index, side in enumerate(sides)],
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    offline = {"HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    interpreter = str(environments.interpreter("inference", "cpu"))
    command = [interpreter, str(REPOSITORY / "tests/fakes/answer_at_random.py"), str(folder / "settings.json")]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **offline, "PYTHONPATH": str(REPOSITORY)}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return tasks, sides


def of_side(side: Path) -> Evaluation:
    return from_json(Evaluation, json.loads((side / "result.json").read_text()))


def judged(
    answered: tuple[list[dict[str, Any]], list[Path]],
    experiment_file: Any,
    hardware: Hardware,
    tmp_path: Path,
    **settings: Any,
) -> dict[str, Difference]:
    """The differences of all tasks, of records that went through a store.

    Args:
        settings: what the experiment says of a task, by the task's name.
    """
    tasks, sides = answered
    configured = [{**task, **settings.get(task["name"], {})} for task in tasks]
    experiment = load_experiment(experiment_file(accuracy={"tasks": configured}))
    store, made = Store.of(experiment.storage), planning.make(experiment, hardware)
    for variant, side in zip(made.variants, sides, strict=True):
        with store.writing(variant.checkpoint) as draft:
            draft.result = checkpoint(10**9)
        for step in evaluations_of(variant):
            with store.writing(step) as draft:
                for file in side.glob("*.jsonl"):
                    shutil.copy(file, draft.folder)
                draft.result = of_side(side)
        for step in variant.benchmarks:
            with store.writing(step) as draft:
                point = {**POINT, "output_tokens_per_second": 40.0}
                draft.result = benchmark([point], [point])
    judgement = compare.judge(Run.of(made, store, Progress(), tmp_path).evidence)
    json.loads(judgement.to_json())
    return {difference.task: difference for difference in judgement.judged[1].differences}


@pytest.mark.usefixtures("built")
def test_every_task_is_judged_by_its_own_first_metric(
    answered: Any, experiment_file: Any, hardware: Hardware, tmp_path: Path
) -> None:
    differences = judged(answered, experiment_file, hardware, tmp_path)
    assert {task: (difference.metric, difference.filter) for task, difference in differences.items()} == {
        "arc_easy": ("acc", "none"),
        "hellaswag": ("acc", "none"),
        "mmlu_anatomy": ("acc", "none"),
        "ifeval": ("prompt_level_strict_acc", "none"),
        "gsm8k": ("exact_match", "strict-match"),
        "cola": ("mcc", "none"),
        "arc_challenge_llama": ("exact_match", "strict_match"),
        "gsm8k_llama": ("exact_match", "strict_match"),
        "mmlu_llama_anatomy": ("exact_match", "strict_match"),
        "mmlu_cot_llama_anatomy": ("exact_match", "strict_match"),
        "winogrande": ("acc", "none"),
        "truthfulqa_mc2": ("acc", "none"),
        "leaderboard_mmlu_pro": ("acc", "none"),
        "leaderboard_bbh_snarks": ("acc_norm", "none"),
        "leaderboard_gpqa_diamond": ("acc_norm", "none"),
        "leaderboard_ifeval": ("prompt_level_strict_acc", "none"),
        "leaderboard_musr_murder_mysteries": ("acc_norm", "none"),
        "translation": ("bleu", "none"),
        "choice": ("brier_score", "none"),
        "everyday_text": ("word_perplexity", "none"),
    }
    assert {task for task, difference in differences.items() if difference.verdict is None} == {"everyday_text"}
    base, variant = (of_side(side) for side in answered[1])
    for task, difference in differences.items():
        assert difference.base == pytest.approx(base.tasks[task].metrics[difference.metric]), "as lm-eval has it"
        assert difference.variant == pytest.approx(variant.tasks[task].metrics[difference.metric])


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("task", "setting", "named", "documents", "sources"),
    [
        ("hellaswag", {"metric": "acc_norm"}, "acc_norm", DOCUMENTS, None),
        ("gsm8k", {"filter": "flexible-extract"}, "exact_match/flexible-extract", DOCUMENTS, None),
        ("ifeval", {"metric": "inst_level_strict_acc"}, "inst_level_strict_acc", 2 * DOCUMENTS, DOCUMENTS),
        ("translation", {"metric": "chrf"}, "chrf", DOCUMENTS, None),
        ("translation", {"metric": "ter"}, "ter", DOCUMENTS, None),
        ("choice", {"metric": "f1"}, "f1", DOCUMENTS, None),
    ],
)
def test_metric_and_filter_can_be_chosen_without_evaluating_again(
    answered: Any,
    experiment_file: Any,
    hardware: Hardware,
    tmp_path: Path,
    task: str,
    setting: dict[str, str],
    named: str,
    documents: int,
    sources: int | None,
) -> None:
    difference = judged(answered, experiment_file, hardware, tmp_path, **{task: setting})[task]
    assert (difference.documents, difference.sources) == (documents, sources)
    values = [of_side(side).tasks[task].metrics[named] for side in answered[1]]
    assert [difference.base, difference.variant] == pytest.approx(values)


def test_shots_are_the_tasks_own_unless_asked_for(answered: Any) -> None:
    tasks = of_side(answered[1][0]).tasks
    assert (tasks["gsm8k"].fewshot, tasks["choice"].fewshot) == (5, 0)
