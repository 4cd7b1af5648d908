"""Random wrong inputs: whatever an experiment file, a `--set`, a record or a recipe holds, the answer is one line.

    python tests/bench/fuzz_inputs.py SECONDS [SEED]

A shipped experiment is changed at random places, by values and by bytes; so is a record. Prints how many were tried,
and of each kind of escape (an exception that is no answer, or an answer after more than 5 s) the first input.
"""

import json
import random
import sys
import time
import traceback
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPOSITORY))

from configs import json_lines, recipes, yaml_files  # noqa: E402
from configs.base import UserError  # noqa: E402
from configs.loading import load_experiment  # noqa: E402
from flows.store.backend import Broken, parsed  # noqa: E402

SLOW_S = 5.0
EXPERIMENTS = sorted((REPOSITORY / "configs/experiments").glob("*.yaml"))
ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 0.5, 1e308, -1e308, float("inf"), float("nan"), 10**30, 10**400, "", " ", "a", "\0"),
    *("~", "~x", "/", "..", "*", "a" * 300, "é\u2028", "\udcff", "1", "true", [], [[]], [None], {}, {"kind": "x"}),
    *({"low": 0, "high": 1}, {"low": 1, "high": 1e9, "step": 1e-9}, ["a"] * 3, {1: 2}, {None: []}, [{"name": "a"}] * 2),
    *("http://[", "sqlite:///x", "s3://", "file://", "concurrent", "hub", "path", "optuna", b"a", {"a": {"b": {}}}),
]
TASK = {"metrics": {"acc": 0.5}, "documents": 2, "scores": [{"metric": "acc", "filter": "none", "kind": "mean"}]}
RECORD = {
    **{"kind": "evaluate", "variant": "v", "fingerprint": "f", "identity": {}, "seconds": 1, "finished_at": 1},
    "result": {"tasks": {"t": TASK}, "prompts": {"context_length": 8, "first_tokens": [1]}},
}
RECIPE = {"a_stage": {"a_modifiers": {"GPTQModifier": {"targets": ["Linear"], "config_groups": {"g": {"x": [1]}}}}}}


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where there is something in a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, item in inner for place in places(item, (*here, key)))]


def changed(draw: random.Random, value: Any) -> Any:
    """A value with another one at some place, with a key more, or a key less."""
    content = json.loads(json.dumps(value))
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        *parents, last = draw.choice([place for place in places(content) if place] or [("x",)])
        node = content
        for parent in parents:
            node = node[parent]
        how = draw.randrange(6)
        if how == 0 and isinstance(node, dict):
            node.pop(last, None)
        elif how == 1 and isinstance(node, dict):
            node[draw.choice(["x", "kind", "name", "path", "low", ""])] = deepcopy(draw.choice(ODD))
        elif how == 2 and not (isinstance(node, dict) and last not in node):
            node[last] = [node[last], deepcopy(draw.choice(ODD))]
        else:
            node[last] = deepcopy(draw.choice(ODD))
        try:
            json.dumps(content)
        except (TypeError, ValueError):
            return content
    return content


def garbled(draw: random.Random, content: bytes) -> bytes:
    """Bytes with some of them taken away, doubled or replaced."""
    found = bytearray(content)
    for _ in range(draw.randrange(1, 6)):
        at, length = draw.randrange(len(found) + 1), draw.randrange(1, 30)
        cut = bytes(found[at : at + length])
        found[at : at + length] = draw.choice(
            [b"", cut * 3, draw.randbytes(length), b"&a", b"*a", b"!!int ", b"[{", b"\t"]
        )
    return bytes(found)


def experiment(draw: random.Random, folder: Path) -> Callable[[], object]:
    source, file = draw.choice(EXPERIMENTS), folder / "experiment.yaml"
    content, overrides = source.read_bytes(), []
    match draw.randrange(3):
        case 0:
            content = garbled(draw, content)
        case 1:
            content = yaml.dump(changed(draw, yaml.safe_load(content)), allow_unicode=True).encode(errors="replace")
        case 2:
            keys = [".".join(map(str, place)) for place in places(yaml.safe_load(content)) if place]
            value = yaml.dump(deepcopy(draw.choice(ODD)), default_flow_style=True)
            overrides = [f"{draw.choice(keys)}{draw.choice(['', '.x', '.0', '.'])}={value}"]
    file.write_bytes(content)
    return lambda: load_experiment(file, overrides)


def record(draw: random.Random, folder: Path) -> Callable[[], object]:
    told = json.dumps(RECORD | {"where": {}}).encode()
    content = garbled(draw, told) if draw.random() < 0.5 else yaml.dump(changed(draw, RECORD)).encode(errors="replace")
    return lambda: parsed(content, "records/evaluate/f")


def recipe(draw: random.Random, folder: Path) -> Callable[[], object]:
    file, given = folder / "recipe.yaml", changed(draw, RECIPE)
    file.write_bytes(garbled(draw, yaml.dump(given).encode(errors="replace")) if draw.random() < 0.5 else b"")
    return lambda: recipes.checked(yaml_files.read(file) if draw.random() < 0.5 else given)


def rows(draw: random.Random, folder: Path) -> Callable[[], object]:
    file = folder / "rows.jsonl"
    file.write_bytes(garbled(draw, json.dumps({"text": "a", "messages": [{"role": "user"}]}).encode() * 2))
    return lambda: list(json_lines.rows(file))


def main() -> int:
    seconds, seed = float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    draw, began, tried, escapes = random.Random(seed), time.monotonic(), 0, {}
    with TemporaryDirectory() as folder:
        while time.monotonic() - began < seconds:
            kind = draw.choices([experiment, record, recipe, rows], [6, 1, 2, 1])[0]
            ask, started = kind(draw, Path(folder)), time.monotonic()
            told = ""
            try:
                ask()
            except (UserError, Broken, yaml_files.Malformed):
                pass
            except BaseException as error:
                *_, last = traceback.extract_tb(error.__traceback__)
                told = f"{kind.__name__}: {type(error).__name__} in {last.name}, line {last.lineno}: {error!s:.200}"
            if time.monotonic() - started > SLOW_S:
                told = f"{kind.__name__}: took {time.monotonic() - started:.0f} s"
            if told and told[:60] not in escapes:
                escapes[told[:60]] = tried
                kept = {file.name: file.read_bytes()[-1500:] for file in Path(folder).iterdir()}
                print(told, kept if kind is not record else "", flush=True)
            tried += 1
    print(f"{tried} inputs in {seconds:.0f} s with seed {seed}: {len(escapes)} kinds of escape")
    return bool(escapes)


if __name__ == "__main__":
    sys.exit(main())
