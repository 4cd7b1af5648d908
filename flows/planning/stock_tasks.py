"""The tasks that the installed lm-eval ships, read from its YAML files without importing it."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from actors import environments
from configs import yaml_files

_NAME = re.compile(r"""^["']?(task|group|tag)["']?:[ \t]*["']?([\w./-]+)["']?\s*$""", re.MULTILINE)
_TAGS = re.compile(r"""^["']?tag["']?:[ \t]*\n((?:[ \t]*-.*\n?)+)""", re.MULTILINE)
_TAG = re.compile(r"""-[ \t]*["']?([\w./-]+)""")
_PACKAGED = {"json", "csv", "text", "parquet", "arrow", "xml", "pandas", "webdataset"}
"""Readers of local files in `datasets`, which a task may name instead of a data set."""


DOCUMENTS = {
    "arc_challenge": 1172,
    "arc_easy": 2376,
    "boolq": 3270,
    "gsm8k": 1319,
    "hellaswag": 10042,
    "ifeval": 541,
    "mmlu": 14042,
    "mmlu_pro": 12032,
    "openbookqa": 500,
    "piqa": 1838,
    "truthfulqa_mc1": 817,
    "truthfulqa_mc2": 817,
    "winogrande": 1267,
}
"""Documents of tasks often named, by the cards of their data sets; of others they are known once the data are here."""


class TaskReader(yaml_files.Reader):
    """Task files name Python functions: `!function utils.mean` is read as "!mean", and imported by nobody."""


TaskReader.add_multi_constructor("!", lambda loader, suffix, node: f"!{str(node.value).rpartition('.')[2]}")


@cache
def kinds(accelerator: str) -> dict[str, str]:
    """`task`, `group` or `tag` by name.

    The names are kept beside the environment: reading 14,000 files takes seconds, and importing the
    library longer still.
    """
    return {name: kind for name, (kind, _) in _index(accelerator).items()}


def data_sets(name: str, accelerator: str) -> set[str]:
    """Hub data sets that a task, or every task of a group, reads; none that is not known."""
    paths = {definition.get("dataset_path") for definition in definitions(name, accelerator)}
    return {str(path) for path in paths if path and path not in _PACKAGED}


def definitions(name: str, accelerator: str) -> list[dict[str, Any]]:
    """The task files of a task, or of every task of a group or tag, as data; none that is not known."""
    return [read(path) | changes for path, changes in _of(name, accelerator)]


def files(name: str, accelerator: str) -> list[Path]:
    """The same, where they lie."""
    return [path for path, _ in _of(name, accelerator)]


def _of(name: str, accelerator: str) -> list[tuple[Path, dict[str, Any]]]:
    """Task files, each with what its group says otherwise."""
    tasks: list[tuple[Path, dict[str, Any]]] = []
    waiting: list[tuple[str, dict[str, Any]]] = [(name, {})]
    visited = set()
    while waiting:
        member, changes = waiting.pop()
        kind, file = _index(accelerator).get(member, ("", ""))
        if member in visited or not file:
            continue
        visited.add(member)
        path = _folder(accelerator) / file
        if kind == "task":
            tasks.append((path, changes))
        if kind == "group":
            waiting += _members(read(path))
        if kind == "tag":
            tagged = [other for other in path.parent.glob("*.yaml") if ("tag", member) in _names(other)]
            waiting += [(str(read(other).get("task", "")), {}) for other in tagged]
    return tasks


def _members(group: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The names in a group, each with what the group says otherwise than the task's own file."""
    members: list[tuple[str, dict[str, Any]]] = []
    for member in group.get("task") or []:
        if isinstance(member, str):
            members.append((member, {}))
        elif isinstance(member.get("task"), list):
            members += _members(member)
        else:
            members.append((str(member.get("task") or member.get("group", "")), member))
    return members


@cache
def read(file: Path) -> dict[str, Any]:
    """A task file of lm-eval's with what it includes; some of them have a key twice."""
    loaded = yaml.load(file.read_text(), TaskReader)  # a safe loader
    own: dict[str, Any] = loaded if isinstance(loaded, dict) else {}
    included = own.get("include") or []
    base: dict[str, Any] = {}
    for name in [included] if isinstance(included, str) else included:
        if (other := (file.parent / name).resolve()).is_file():
            base |= read(other)
    return base | own


@cache
def _index(accelerator: str) -> dict[str, tuple[str, str]]:
    """Kind and file of every name; the file as a path below lm-eval's folder of tasks."""
    kept = environments.environment("inference", accelerator).folder / "lm-eval-task-files.json"
    if kept.is_file():
        return {name: (kind, file) for name, (kind, file) in json.loads(kept.read_text()).items()}
    folder = _folder(accelerator)
    entries = {
        (kind, name, str(file.relative_to(folder))) for file in folder.rglob("*.yaml") for kind, name in _names(file)
    }
    index = {name: (kind, file) for kind, name, file in sorted(entries, key=_tasks_last)}
    kept.write_text(json.dumps(index))
    return index


def _names(file: Path) -> set[tuple[str, str]]:
    """Kind and name of all that a file defines or belongs to."""
    text = file.read_text(errors="ignore")
    listed = {("tag", tag) for tags in _TAGS.findall(text) for tag in _TAG.findall(tags)}
    return {*_NAME.findall(text), *listed}


def _tasks_last(entry: tuple[str, str, str]) -> tuple[bool, str, str, str]:
    """Of two kinds under one name, the task counts."""
    kind, name, file = entry
    return (kind == "task", kind, name, file)


def _folder(accelerator: str) -> Path:
    return next(
        environments.environment("inference", accelerator).folder.glob("lib/python*/site-packages/lm_eval/tasks")
    )
