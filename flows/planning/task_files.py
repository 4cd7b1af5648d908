"""Task files and documents of people's own, read in full before any device is taken."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from configs import json_lines, yaml_files
from configs.accuracy import Task
from configs.yaml_files import Malformed
from flows.planning.stock_tasks import TaskReader

_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")
_COLUMN = re.compile(r"\{\{-?\s*([A-Za-z_]\w*)\s*(?=[}.|\[])")
_BEYOND = re.compile(r"__|\|\s*attr\b|\\x")
_TEMPLATES = ("doc_to_text", "doc_to_target", "doc_to_choice")
_LITERALS = {"true", "false", "none", "True", "False", "None"}


def read(file: Path, task: Task) -> dict[str, Any]:
    """A task file of people's own with what it includes.

    Raises:
        Malformed: it is none, or would run code without `runs_code`.
    """
    definition = _read(file, task, ())
    for key, named in (("metric_list", "metric"), ("filter_list", "name")):
        listed = definition.get(key)
        if listed is not None and not (
            isinstance(listed, list)
            and all(isinstance(entry, dict) and isinstance(entry.get(named), str) for entry in listed)
        ):
            raise Malformed(f"{file.name}: {key} is not a list of mappings that each have a `{named}`")
    if not isinstance(definition.get("dataset_kwargs", {}), dict | None):
        raise Malformed(f"{file.name}: dataset_kwargs is not a mapping")
    return definition


def _read(file: Path, task: Task, within: tuple[Path, ...]) -> dict[str, Any]:
    if file in within:
        raise Malformed(f"{file.name} includes itself; remove the include")
    text = yaml_files.text(file)
    own = yaml_files.parse(text, TaskReader)
    if not isinstance(own, dict) or not own:
        raise Malformed(
            f"{file.name} contains no task; a task is a mapping with `task`, `dataset_path` and `doc_to_text`"
        )
    if not task.runs_code and (why := _code(text, own)):
        raise Malformed(f"{file.name} {why}, which runs code during evaluation; set runs_code: true if you trust it")
    included = own.get("include") or []
    base: dict[str, Any] = {}
    for name in [included] if isinstance(included, str) else included:
        other = (file.parent / str(name)).resolve()
        if not other.is_file():
            raise Malformed(f"{file.name} includes {name!s:.80}, which is not a file beside it")
        base |= _read(other, task, (*within, file))
    return base | own


def _code(text: str, own: dict[str, Any]) -> str | None:
    """What of a task file is code; None where all of it is data. lm-eval's templates are Jinja's without a sandbox:
    by way of an attribute with underscores they reach any function of Python's."""
    tags = {event.tag for event in yaml.parse(text, yaml.CSafeLoader) if isinstance(event, yaml.ScalarEvent)}
    if named := sorted(tag for tag in tags if tag and tag.startswith("!") and tag != "!"):
        return f"names Python ({named[0]})"
    for value in _texts(own):
        if ("{{" in value or "{%" in value) and _BEYOND.search(value):
            return f"has a template that reaches beyond a document ({value!r:.60})"
    metrics = own.get("metric_list")
    listed = metrics if isinstance(metrics, list) else []
    if any(isinstance(entry, dict) and entry.get("hf_evaluate") for entry in listed):
        return "fetches a metric (hf_evaluate)"
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def own_data_files(definition: dict[str, Any], folder: Path) -> dict[str, Path]:
    """The documents that a task file names, by split; none where it reads a data set of the hub."""
    named = (definition.get("dataset_kwargs") or {}).get("data_files")
    if named is None:
        return {}
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise Malformed("dataset_kwargs.data_files is not a mapping of a split to a file; write {test: FILE}")
    files = {str(split): folder / name for split, name in named.items()}
    if missing := [name for name in files.values() if not name.is_file()]:
        raise Malformed(f"its data file {missing[0]} is missing")
    return files


def check_documents(task: Task, definition: dict[str, Any], files: Mapping[str, Path], least: int) -> None:
    """Raise Malformed unless every document is one of the task's, and there are at least so many of them to judge."""
    splits = {use: str(definition[use]) for use in _SPLITS if definition.get(use)}
    if splits and (unknown := sorted(set(files) - set(splits.values()))):
        split_names = ", ".join(sorted(set(splits.values())))
        raise Malformed(f"{task.name} has no split {unknown[0]!r}; splits: {split_names}")
    test_split = next((splits[use] for use in ("test_split", "validation_split") if splits.get(use) in files), None)
    if splits and test_split is None:
        raise Malformed(f"{task.name} uses none of {', '.join(sorted(files))}; give its test split")
    wanted = _columns(definition)
    counts = {split: _count(file, wanted, task.name) for split, file in files.items()}
    if test_split is None:
        return
    if counts[test_split] < least:
        raise Malformed(f"{files[test_split].name} holds {counts[test_split]} documents; at least {least} are needed")
    shown = next((splits[use] for use in ("fewshot_split", *_SPLITS[:3]) if splits.get(use) in files), test_split)
    most = counts[shown] - (shown == test_split)
    if task.fewshot and task.fewshot > most:
        raise Malformed(f"fewshot: {task.fewshot} examples, and {files[shown].name} holds {counts[shown]} documents")


def _columns(definition: dict[str, Any]) -> set[str]:
    """Fields that every document must have, by the task's templates; none where Python makes documents of them."""
    if definition.get("process_docs"):
        return set()
    columns: set[str] = set()
    for key in _TEMPLATES:
        template = definition.get(key)
        if isinstance(template, str) and "{%" not in template:
            columns |= set(_COLUMN.findall(template))
            if key == "doc_to_choice" and template.isidentifier():
                columns.add(template)
    return columns - _LITERALS


def _count(file: Path, wanted: set[str], name: str) -> int:
    count = 0
    try:
        for number, row in json_lines.rows(file):
            if lacking := sorted(wanted - row.keys()):
                raise Malformed(f"line {number} lacks {', '.join(lacking)}, which {name} needs")
            count += 1
    except Malformed as error:
        raise Malformed(f"{file.name}: {error}") from None
    if not count:
        raise Malformed(f"{file.name} contains no document")
    return count
