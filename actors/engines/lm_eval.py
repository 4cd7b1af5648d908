"""lm-evaluation-harness: accuracy on tasks, with every document's result kept.

Its cache is never used: the keys do not contain the model, so one path would give every variant the
base model's answers.
"""

import json
import math
import random
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

_MODEL = {"served": "local-completions", "vllm": "vllm", "hf": "hf"}


def evaluate(
    engine: str,
    arguments: dict[str, Any],
    *,
    tasks: list[dict[str, Any]],
    tasks_folder: Path,
    chat_template: bool,
    batch_size: int,
    seed: int,
    samples: Path,
    share: tuple[float, float] | None,
) -> dict[str, Any]:
    """Evaluate one model on all tasks; write `TASK.jsonl` of per-document results into `samples`.

    Args:
        engine: `served`, `vllm` or `hf`.
        arguments: what that engine needs to find and run the model.
        tasks: each with name, fewshot, limit, path and data_files, as in `configs.accuracy.Task`.
        tasks_folder: where local tasks are looked up before the stock ones.
        share: only the documents of every task that lie between these two shares of them, in an order
            shuffled by `seed`; None for all.

    Returns:
        for each task (and each subtask of a group): metrics, whether higher is better, the number of
        documents, the task's own version, and the name that was asked for.
    """
    definitions = [_local_definition(task, tasks_folder) for task in tasks]
    manager = TaskManager(include_defaults=not all(definitions))
    results: dict[str, Any] = {}
    for task, definition in zip(tasks, definitions, strict=True):
        asked = definition or _stock_definition(task, manager)
        chosen = _documents(manager, asked, task["limit"], share, seed) if share else None
        outcome = simple_evaluate(
            model=_MODEL[engine],
            model_args=arguments,
            tasks=[asked],
            num_fewshot=task["fewshot"] or None,
            limit=None if chosen else task["limit"],
            samples=chosen,
            apply_chat_template=chat_template,
            batch_size=1 if engine == "served" else batch_size,
            task_manager=manager,
            log_samples=True,
            bootstrap_iters=0,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
        results |= _collect(outcome, samples, asked=task["name"])
    return results


def _documents(
    manager: TaskManager, task: str | dict[str, Any], limit: int | None, share: tuple[float, float], seed: int
) -> dict[str, list[int]]:
    """The documents of a slice, for a task or every subtask of a group; in rising order, as lm-eval writes
    the first, second, ... of the documents under the first, second, ... number that it was given."""
    chosen = {}
    for name, loaded in manager.load([task])["tasks"].items():
        count = min(limit or len(loaded.eval_docs), len(loaded.eval_docs))
        order = random.Random(seed).sample(range(count), count)
        chosen[name] = sorted(order[math.ceil(share[0] * count) : math.ceil(share[1] * count)])
        if not chosen[name]:
            raise ValueError(f"{name} has {count} documents, too few for a slice from {share[0]:g} to {share[1]:g}")
    return chosen


def _local_definition(task: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """The task's YAML as data, where it is a local one, with its data files found beside it."""
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
    """A stock task's name, or its YAML as data with local files in the place of the hub data set.

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


def _collect(outcome: dict[str, Any], samples: Path, *, asked: str) -> dict[str, Any]:
    """The figures of one task that was asked for, or of its subtasks; the per-document results go to files."""
    results = {}
    for name, documents in outcome["samples"].items():
        better = outcome["higher_is_better"][name]
        figures = outcome["results"][name]
        results[name] = {
            "metrics": {m: figures[f"{m},none"] for m in better if f"{m},none" in figures},
            "higher_is_better": better,
            "documents": len(documents),
            "version": outcome["versions"].get(name),
            "asked": asked,
        }
        with (samples / f"{name}.jsonl").open("w") as lines:
            for document in documents:
                lines.write(json.dumps(document, default=str) + "\n")
    return results
