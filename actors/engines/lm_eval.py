"""lm-evaluation-harness: accuracy on tasks, with every document's result kept.

Its cache is never used: the keys do not contain the model, so one path would give every variant the
base model's answers.
"""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import evaluate as hf_evaluate
import numpy as np
from jinja2 import BaseLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from lm_eval import simple_evaluate, utils
from lm_eval.api.registry import AGGREGATION_REGISTRY
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from sacrebleu.metrics import BLEU, CHRF, TER

from actors.artifacts import Evaluation, Prompts, Score, TaskScores
from actors.engines import hub_datasets, lm_eval_models
from actors.programs.code_eval import CodeEval
from configs.accuracy import GenKwargs
from configs.metrics import kind_of

_COUNTING = {"bleu": BLEU(), "chrf": CHRF(), "chrf++": CHRF(word_order=2), "ter": TER()}
"""As lm-eval sets them (`lm_eval/api/metrics.py`)."""
_SAMPLING = {
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "num_beams"),
    *("repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size", "length_penalty"),
    *("min_length", "min_new_tokens", "max_new_tokens", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids"),
}
"""Of a `generation_config.json`: transformers' names of what changes which token comes next, or how many do."""

_SANDBOX = SandboxedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
"""A task's templates are data: lm-eval's own environment would let them reach any function of Python's."""
_SANDBOX.filters |= utils.env.filters
utils.env = _SANDBOX
_load = hf_evaluate.load
hf_evaluate.load = lambda path, *args, **named: CodeEval() if path == "code_eval" else _load(path, *args, **named)


def evaluate(
    engine: str,
    arguments: dict[str, Any],
    *,
    tasks: list[dict[str, Any]],
    tasks_folder: Path,
    chat_template: bool,
    system_instruction: str | None,
    batch_size: int,
    seed: int,
    samples: Path,
    share: tuple[float, float] | None,
    allow_code: bool = False,
) -> Evaluation:
    """Evaluate one model on all tasks; write `TASK.jsonl` of per-document results into `samples`.

    Args:
        engine: `served`, `vllm` or `hf`.
        arguments: what that engine needs to find and run the model.
        tasks: each with name, fewshot, limit, path, data_files, gen_kwargs and seeds, as in `configs.accuracy.Task`;
            with chat_template where it has one of its own.
        tasks_folder: where local tasks are looked up before the stock ones.
        share: only the documents of every task that lie between these two shares of them, in an order
            shuffled by `seed`; None for all.
        allow_code: whether tasks may run code that the model wrote, in this process.

    Returns:
        the scores of each task, and of each subtask of a group.

    Raises:
        ValueError: a task cannot be run as its settings say, or the engine answers what is not a number.
    """
    definitions = [_local_definition(task, tasks_folder) for task in tasks]
    manager = TaskManager(include_defaults=not all(definitions))
    model = lm_eval_models.make(engine, arguments, batch_size)
    checkpoint = Path(arguments.get("pretrained") or arguments["tokenizer"])
    chats = [bool(task.get("chat_template", chat_template)) for task in tasks]
    prompts = _prompts(model, any(chats), system_instruction, checkpoint)
    results: dict[str, TaskScores] = {}
    for task, definition, as_chat in zip(tasks, definitions, chats, strict=True):
        whole = manager.load([definition or _stock_definition(task, manager)])
        loaded, alike = whole["tasks"], _tasks_alike(whole["groups"].get(task["name"]))
        chosen = _documents(loaded, task["limit"], share, seed) if share else None
        outcomes = []
        for offset in range(task["seeds"]):
            model.begin(seed + offset)
            outcome = simple_evaluate(
                model=model,
                tasks=list(loaded.values()),
                num_fewshot=task["fewshot"],
                limit=None if chosen else task["limit"],
                samples=chosen,
                apply_chat_template=as_chat,
                system_instruction=system_instruction,
                gen_kwargs=GenKwargs.model_validate(task["gen_kwargs"]).for_lm_eval() or None,
                task_manager=manager,
                log_samples=True,
                confirm_run_unsafe_code=allow_code,
                bootstrap_iters=0,
                random_seed=seed,
                numpy_random_seed=seed,
                torch_random_seed=seed + offset,
                fewshot_random_seed=seed,
            )
            outcomes.append(outcome)
        for name, one in loaded.items():
            results[name] = replace(
                _collect(outcomes, one, name, samples, task["name"], seed),
                alike=alike,
                cut=_count(model.cut, name),
                split=_count(model.split, name),
                commit=hub_datasets.commit(one.dataset),
            )
        prompts = replace(prompts, system_left_out=prompts.system_left_out or model.without_system)
    return Evaluation(results, prompts)


def _prompts(model: Any, chat_template: bool, system_instruction: str | None, checkpoint: Path) -> Prompts:
    """How the documents of every task are put to a model.

    Raises:
        ValueError: the settings have a system prompt, and the model's chat template takes none.
    """
    if chat_template and system_instruction:
        model.apply_chat_template([{"role": role, "content": "x"} for role in ("system", "user")])
        if model.without_system:
            raise ValueError(
                "accuracy.system_instruction: the model's chat template refuses a system message; put it into the "
                "task's description, or remove it"
            )
    bare, whole = model.tok_encode("x", add_special_tokens=False), model.tok_encode("x")
    return Prompts(
        context_length=model.context_length,
        first_tokens=tuple(int(token) for token in whole[: len(whole) - len(bare)]),
        generation_config_left_out=_sampling_settings(checkpoint),
    )


def _sampling_settings(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint's `generation_config.json` says of how to sample, which no evaluation takes."""
    file = checkpoint / "generation_config.json"
    written = json.loads(file.read_text()) if file.is_file() else {}
    return {name: value for name, value in written.items() if name in _SAMPLING and value is not None}


def _count(documents: set[tuple[str, int]], task: str) -> int:
    return sum(name == task for name, _ in documents)


def _tasks_alike(group: Any) -> bool:
    """Whether every task of a group counts the same, whatever its number of documents."""
    listed = (group.aggregate_metric_list if group else None) or []
    return any(not one.weight_by_size for one in listed)


def _documents(tasks: dict[str, Any], limit: int | None, share: tuple[float, float], seed: int) -> dict[str, list[int]]:
    """The documents of a slice, for a task or every subtask of a group; in rising order, as lm-eval writes
    the first, second, ... of the documents under the first, second, ... number that it was given."""
    chosen = {}
    for name, loaded in tasks.items():
        count = min(limit or len(loaded.eval_docs), len(loaded.eval_docs))
        order = random.Random(seed).sample(range(count), count)
        chosen[name] = sorted(order[math.ceil(share[0] * count) : math.ceil(share[1] * count)])
        if not chosen[name]:
            raise ValueError(f"{name} has {count} documents, too few for a slice from {share[0]:g} to {share[1]:g}")
    return chosen


def _local_definition(task: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """The task's YAML as data, where it is a local one, with the paths of the data files beside it."""
    file = Path(task["path"]) if task["path"] else next(iter(folder.rglob(f"{task['name']}.yaml")), None)
    if file is None:
        return None
    definition: dict[str, Any] = load_yaml(file)
    files = (definition.get("dataset_kwargs") or {}).get("data_files")
    if files:
        beside = {split: str(file.parent / name) for split, name in files.items()}
        definition["dataset_kwargs"] = {"data_files": beside}
    return definition


def _stock_definition(task: dict[str, Any], manager: TaskManager) -> str | dict[str, Any]:
    """A stock task's name, or its YAML as data with local files instead of the hub data set.

    A split that has no file is set to none: a task that names a training split builds its few-shot
    pool from it even at 0 shots.
    """
    if not task["data_files"]:
        return str(task["name"])
    definition: dict[str, Any] = load_yaml(manager.task_index[task["name"]].yaml_path)
    for use in ("training_split", "validation_split", "test_split", "fewshot_split"):
        if definition.get(use) not in task["data_files"]:
            definition.pop(use, None)
    local = {"data_files": {split: str(file) for split, file in task["data_files"].items()}}
    return definition | {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": local}


def _collect(outcomes: Sequence[Any], task: Any, name: str, samples: Path, task_name: str, seed: int) -> TaskScores:
    """The figures of one task; its per-document results go to a file, a line for each filter of each document, and of
    each seed where there are several.

    Args:
        outcomes: of lm-eval, one for each seed.
        task_name: in the settings; a group's where the task is one of its subtasks.
        seed: the first of them.
    """
    written = {key for one in outcomes for row in one["samples"][name] for key in row}
    scores = [score for score in _scores(task) if score["metric"] in written]
    figures = {
        _named(s): [one["results"][name].get(f"{s['metric']},{s['filter']}") for one in outcomes] for s in scores
    }
    documents, unknown = set(), set()
    with (samples / f"{name}.jsonl").open("w") as lines:
        for offset, row in ((offset, row) for offset, one in enumerate(outcomes) for row in one["samples"][name]):
            values = {s["metric"]: _value(row[s["metric"]], s) for s in scores if s["kind"] and s["metric"] in row}
            drawn = {"seed": seed + offset} if len(outcomes) > 1 else {}
            lines.write(json.dumps(row | values | drawn, default=str) + "\n")
            documents.add(row["doc_id"])
            if None in values.values():
                unknown.add(row["doc_id"])
    return TaskScores(
        metrics={n: float(np.mean(v)) for n, v in figures.items() if all(map(_is_number, v))},
        scores=tuple(Score(s["metric"], s["filter"], s["kind"], s["higher_is_better"]) for s in scores if s["kind"]),
        documents=len(documents),
        unknown=len(unknown),
        seeds=len(outcomes),
        fewshot=outcomes[0]["n-shot"][name],
        version=outcomes[0]["versions"].get(name),
        asked=task_name,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _scores(task: Any) -> list[dict[str, Any]]:
    """Every metric of a task under every filter, in the task's own order: metric, filter, how it can be judged, and
    whether higher is better."""
    names = {function: name for name, function in AGGREGATION_REGISTRY.items()}
    scores = []
    for metric, better in task.higher_is_better().items():
        aggregation = task.aggregation().get(metric)
        kind = kind_of(metric, str(names.get(aggregation) or f"!{getattr(aggregation, '__name__', '')}"))
        for index, ensemble in enumerate(task._filters):
            judged = {"metric": metric, "filter": ensemble.name, "kind": kind, "higher_is_better": bool(better)}
            scores.append(judged | {"first": index == 0})
    return scores


def _named(score: dict[str, Any]) -> str:
    """A metric as it is shown: under the task's first filter by its name alone."""
    return str(score["metric"]) if score["first"] else f"{score['metric']}/{score['filter']}"


def _value(value: Any, score: dict[str, Any]) -> Any:
    """A document's value as `configs.metrics.Kind` has it, in numbers that JSON knows; None where it has none."""
    kind = score["kind"]
    if kind in _COUNTING:
        return _counts(kind, *value)
    if score["metric"] == "brier_score":
        return _plain(_brier(*value))
    if isinstance(value, list | tuple):
        parts = [_plain(one) for one in value]
        return None if None in parts else parts
    return _plain(value)


def _counts(kind: str, reference: str | Sequence[str], answer: str | Sequence[str]) -> list[float]:
    """What one answer adds to the sums that the metric is made of."""
    references = [reference] if isinstance(reference, str) else list(reference)
    (text,) = [answer] if isinstance(answer, str) else answer
    statistics = _COUNTING[kind]._extract_corpus_statistics([text], [[one] for one in references])
    return [float(count) for count in statistics[0]]


def _brier(gold: int, chances: Sequence[float]) -> float:
    """Squared distance of the answers' probabilities from the right one (Brier 1950); lm-eval's is their mean."""
    return float(np.sum((np.asarray(chances) - np.eye(len(chances))[gold]) ** 2))


def _plain(value: Any) -> Any:
    """A number as Python has it; None for one that is not known, or not finite."""
    number = value.item() if isinstance(value, np.generic | np.ndarray) and value.size == 1 else value
    return None if isinstance(number, float) and not math.isfinite(number) else number
