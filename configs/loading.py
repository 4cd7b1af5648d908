"""From a YAML file (and `--set key=value`) to an Experiment, or one clear line about what is wrong."""

import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from configs import yaml_files
from configs.base import REPOSITORY, UserError, in_one_line, unknown_key
from configs.experiment import ONLY, Experiment, section

_OLD_LOAD_KEYS = {"company": "colocate"}
"""Keys of a load that have another name since the last version."""
_NAMED_OTHERWISE = ("workloads", "engine_args")
"""Sections whose keys are names of the user's or of vLLM's."""


def load_experiment(path: Path, overrides: list[str] | None = None) -> Experiment:
    """Read an experiment file, apply overrides such as `load.duration_s=5`, check every field.

    Relative paths inside the file are taken from the repository's root, where commands are run.

    Raises:
        UserError: the file, its YAML or a field is wrong.
    """
    values = _read(path)
    for override in overrides or []:
        _apply(values, override)
    _rename(values)
    try:
        return Experiment.model_validate(_anchored(values))
    except ValidationError as error:
        raise UserError(f"{path}: {_one_line(error.errors()[0])}") from None


def _read(path: Path) -> dict[str, Any]:
    if not _is_file(path):
        shipped = ", ".join(sorted(p.name for p in (REPOSITORY / "configs/experiments").glob("*.yaml")))
        raise UserError(f"{str(path)!s:.200}: no such file; shipped experiments in configs/experiments: {shipped}")
    try:
        values = yaml_files.read(path)
    except yaml_files.Malformed as error:
        raise UserError(f"{path}: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: an experiment is a mapping of keys to values; the file contains {values!r:.40}")
    return values


def _rename(values: dict[str, Any]) -> None:
    """Take the keys of the last version for those of this one, with a warning."""
    workloads = values.get("workloads")
    loads = {ONLY: values.get("load"), **(workloads if isinstance(workloads, dict) else {})}
    for name, load in loads.items():
        for old in _OLD_LOAD_KEYS.keys() & (load if isinstance(load, dict) else {}):
            new = _OLD_LOAD_KEYS[old]
            if new not in load:  # or else both stand there, which is refused
                where = section(name)
                line = f"warning: {where}.{old} is now called {new}; the next version rejects the old key"
                print(in_one_line(line), file=sys.stderr)
                load[new] = load.pop(old)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no path at all, such as one that is too long
        return False


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    said = f"--set {override:.80}"
    if not separator or not key:
        raise UserError(f"{said}: must be KEY=VALUE, for example load.duration_s=5")
    try:
        value = yaml_files.parse(text)
    except yaml_files.Malformed as error:
        raise UserError(f"{said}: {error}") from None
    *parents, last = key.split(".")
    node: Any = values
    for position, parent in enumerate(parents):
        node = _section(node, parent, said)
        if not isinstance(node, list | dict):
            raise UserError(f"{said}: {'.'.join(parents[: position + 1])} is a plain value, not a section")
    node[_index(node, last, said) if isinstance(node, list) else last] = value


def _section(node: list[Any] | dict[str, Any], key: str, said: str) -> Any:
    """What stands under a key; a section that is missing, or empty, is made."""
    if isinstance(node, list):
        return node[_index(node, key, said)]
    if node.get(key) is None:
        node[key] = {}
    return node[key]


def _index(items: list[Any], key: str, said: str) -> int:
    is_number = key.isascii() and key.isdecimal() and len(key) < 7
    if not is_number or int(key) >= len(items):
        raise UserError(f"{said}: {key!r:.40} must be a position from 0 to {len(items) - 1}")
    return int(key)


def _anchored(values: Any, key: str = "") -> Any:
    """The same values, with every `path`, `root`, `cache` and data file made absolute; an address is left alone."""
    if isinstance(values, dict):
        inside = {"data_files": "path", **dict.fromkeys(_NAMED_OTHERWISE, "")}.get(key)
        return {k: _anchored(v, str(k) if inside is None else inside) for k, v in values.items()}
    if isinstance(values, list):
        return [_anchored(v, key) for v in values]
    if key in ("path", "root", "cache") and isinstance(values, str) and "://" not in values:
        return _absolute(values)
    return values


def _absolute(path: str) -> str:
    """A path from the repository's root; what is no path is left for its field to say so."""
    if not path.strip():
        return path
    try:
        return str(REPOSITORY / Path(path).expanduser())
    except RuntimeError:  # nobody has that home
        return path


def _one_line(error: ErrorDetails) -> str:
    where = ".".join(f"{part!s:.80}" for part in error["loc"] if part != "")
    value = error.get("input")
    match error["type"]:
        case "extra_forbidden":
            *parents, key = error["loc"]
            return f"{where}: {unknown_key(str(key), _fields_at(parents))}"
        case "union_tag_invalid":
            context = error["ctx"]
            return f"{where}.kind: {context['tag']!r:.60} is not a kind; valid kinds: {context['expected_tags']}"
        case "union_tag_not_found":
            return f"{where}.kind: missing; set the kind"
        case "missing":
            return f"{where}: missing; this key is required"
        case "value_error":
            prefix = f"{where}: " if where else ""
            return prefix + error["msg"].removeprefix("Value error, ")
    return f"{where}: {value!r:.60} is not valid: {error['msg'][0].lower()}{error['msg'][1:]}"


def _fields_at(location: list[int | str]) -> list[str]:
    """Field names of the settings at a location of a validation error (tags of unions included)."""
    schema = Experiment.model_json_schema()
    node: Any = schema
    for part in location:
        node = _resolve(node, schema)
        if "discriminator" in node:
            node = {"$ref": node["discriminator"]["mapping"][part]}
        elif isinstance(part, int):
            node = node.get("items", {})
        else:
            named_by_the_user: Any = next(iter(node.get("patternProperties", {}).values()), {})
            node = node.get("properties", {}).get(part, named_by_the_user)
    return sorted(_resolve(node, schema).get("properties", {}))


def _resolve(node: Any, schema: dict[str, Any]) -> Any:
    while "$ref" in node or "anyOf" in node:
        if "anyOf" in node:
            node = next((option for option in node["anyOf"] if option.get("type") != "null"), {})
        else:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node
