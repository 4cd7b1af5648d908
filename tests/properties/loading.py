"""What holds of everything that people write, whatever it is: laws, each of which takes one input."""

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from properties.values import Route, at, in_yaml, on_one_line
from tests_support import BIG_CPU

from configs import recipes, yaml_files
from configs.base import UserError
from configs.calibration import LocalText
from configs.experiment import Experiment
from configs.loading import load_experiment
from configs.yaml_files import Malformed
from flows.planning import plan
from flows.store.backend import as_text
from flows.store.steps import Step

_MOST_STEPS = 300
_OF_THE_FILE = re.compile(
    r"cannot be read|larger than|not UTF-8|not valid YAML|line \d+: |its aliases stand|holds more than|an experiment is"
)


def loads_or_says_why(file: Path, content: bytes, overrides: Sequence[str] = ()) -> bool:
    """An experiment, or one line that names the file and the field; the same when it is loaded again. An experiment
    that was written down is the same, with the same fingerprints, and its steps can be recorded. True for an
    experiment."""
    file.write_bytes(content)
    loaded = outcome(file, overrides)
    assert outcome(file, overrides) == loaded
    if isinstance(loaded, str):
        return False
    file.write_bytes(in_yaml(loaded.model_dump(mode="json")))
    again = outcome(file)
    assert isinstance(again, Experiment), again
    assert again.model_dump_json() == loaded.model_dump_json()
    assert fingerprints(again) == fingerprints(loaded)
    return True


def set_equals_the_file(file: Path, content: dict[str, Any], route: Route, value: Any) -> bool:
    """A value behind `--set` does what it does in the file."""
    file.write_bytes(in_yaml(content))
    by_set = outcome(file, [f"{'.'.join(map(str, route))}={on_one_line(value)}"])
    at(content, route[:-1])[route[-1]] = value
    file.write_bytes(in_yaml(content))
    by_file = outcome(file)
    if isinstance(by_set, str) and by_set.startswith("--set "):
        assert isinstance(by_file, str) and "not valid YAML" in by_file, by_file
    else:
        assert by_set == by_file
    return isinstance(by_file, Experiment)


def recipe_is_checked(file: Path, content: bytes) -> bool:
    """A recipe that a step can be named and recorded by, or what is wrong with it."""
    file.write_bytes(content)
    try:
        recipe = recipes.checked(yaml_files.read(file))
    except Malformed as error:
        assert_one_line(str(error))
        return False
    as_recorded(Step("quantize", "v", {"recipe": recipe}))
    return True


def texts_are_read(file: Path, content: bytes) -> bool:
    """The documents of a calibration file, or what is wrong with it."""
    file.write_bytes(content)
    try:
        documents = list(LocalText(kind="local", path=file).documents())
    except Malformed as error:
        assert_one_line(str(error))
        return False
    for document in documents:
        assert document, "an empty document"
        str(document).encode()
    return bool(documents)


def outcome(file: Path, overrides: Sequence[str] = ()) -> Experiment | str:
    """The experiment of a file, or why there is none."""
    warned = io.StringIO()
    try:
        with redirect_stderr(warned):
            loaded: Experiment | str = load_experiment(file, list(overrides))
    except UserError as error:
        loaded = str(error)
        assert_one_line(loaded)
        assert_named(loaded, file)
    for line in warned.getvalue().splitlines():
        assert line.startswith("warning: ") and line.isprintable(), line
    return loaded


def assert_one_line(message: str) -> None:
    assert message.strip() and message.isprintable(), repr(message)


def assert_named(message: str, file: Path) -> None:
    """A message begins with where the mistake is: a word of `--set`, or the file and in it a field or a line."""
    if message.startswith("--set "):
        return
    assert message.startswith(f"{file}: "), message
    where = message.removeprefix(f"{file}: ")
    known = re.match(r"[\w-]+", where)
    is_field = known is not None and known[0] in Experiment.model_fields
    assert is_field or ": unknown key; " in where or _OF_THE_FILE.match(where), message


def fingerprints(experiment: Experiment) -> list[str]:
    """Of all steps, which can be recorded; of none where a file is missing that a step builds on, and where they are
    very many."""
    if len(experiment.variants) * len(experiment.benchmarks) > _MOST_STEPS:
        return []
    try:
        made = plan.make(experiment, BIG_CPU)
    except (OSError, Malformed):
        return []
    for step in made.steps:
        as_recorded(step)
    return [step.fingerprint for step in made.steps]


def as_recorded(step: Step) -> bytes:
    """A record of a step as it is written."""
    beside = {"result": {}, "seconds": 0.5, "finished_at": 1.0, "where": {}}
    return as_text(
        {"kind": step.kind, "variant": step.variant, "fingerprint": step.fingerprint, **beside}
        | {"identity": step.identity}
    )
