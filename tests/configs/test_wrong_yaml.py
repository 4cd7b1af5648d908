"""Experiment files, and values of --set, that are no YAML, too much of it, or more than they look."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from refusals import accepted, refusal

from configs.base import REPOSITORY

pytestmark = pytest.mark.usefixtures("hardware", "built")


def bomb(levels: int) -> str:
    """A list of ten, ten times, and so again: 10 ** levels values in a few lines."""
    ten = [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(["a0: &a0 [x,x,x,x,x,x,x,x,x,x]", *ten])


BOMB = bomb(9)
ALONE = [
    ("deep_list", "a: " + "[" * 5000, "nested deeper than 100 levels; flatten it"),
    ("deep_mapping", "a: " + "{a: " * 5000, "nested deeper than 100 levels"),
    ("deep_block", "".join(f"{' ' * n}a:\n" for n in range(300)), "nested deeper than 100 levels"),
    ("bomb", BOMB, "its aliases expand to more than 10,000 values"),
    ("bomb_of_merges", "a: &a {x: 1}\n" + "b: {" + ", ".join(f"k{n}: *a" for n in range(9000)) + "}", "10,000 values"),
    ("alias_of_itself", "name: &a [*a]\n", "the alias 'a' contains itself"),
    ("alias_of_itself_by_a_mapping", "name: &a {b: {c: *a}}\n", "the alias 'a' contains itself"),
    ("alias_of_nothing", "name: *a\n", "not valid YAML"),
    ("large", "a: [" + "1," * 600_000 + "1]", "larger than 1 MB"),
    ("many_values", "a: [" + "1," * 200_000 + "1]", "contains more than 100,000 values"),
    ("empty", "", "is a mapping of keys"),
    ("blank", " \n\t\n", "not valid YAML"),
    ("list", "- 1", "is a mapping of keys"),
    ("text", "hello", "is a mapping of keys"),
    ("two_documents", "a: 1\n---\nb: 2\n", "not valid YAML"),
    ("nul", "a: 1\x00", "not valid YAML"),
    ("python_tag", "name: !!python/object/apply:os.system [ls]\n", "not valid YAML"),
    ("own_tag", "name: !secret x\n", "not valid YAML"),
    ("timestamp", 'name: !!timestamp "x"\n', "the value at line 1 is not a readable date; quote it"),
    ("month_13", "name: 2026-13-45\n", "line 1 is not a readable date"),
    ("int", '\nname: !!int "abc"\n', "line 2 is not a readable number"),
    ("int_empty", "name: !!int \n", "line 1 is not a readable number"),
    ("float", 'name: !!float "x"\n', "line 1 is not a readable number"),
    ("bool", 'name: !!bool "x"\n', "line 1 is not a readable boolean"),
    ("binary", 'name: !!binary "*"\n', "error: "),
    ("set", "name: !!set {a, b}\n", "not valid YAML"),
    ("omap", "name: !!omap [a: 1]\n", "not valid YAML"),
    ("pairs", "name: !!pairs [a: 1]\n", "not valid YAML"),
    ("text_as_binary", "name: !!binary dGlueQ==\n", "not valid YAML"),
    ("digits", "name: " + "9" * 5000 + "\n", "line 1 is not a readable number"),
    ("unhashable", "? [a, b]\n: 1\n", "YAML"),
    ("unclosed", "a: [", "not valid YAML"),
    ("tab_before", "a:\n\tb: 1\n", "not valid YAML"),
    ("no_end_of_text", 'a: "b\n', "not valid YAML"),
]
ADDED = [
    ("twice", "name: second\n", "'name' appears twice; remove one"),
    ("section_twice", "load: {kind: concurrent, streams: [1]}\n", "'load' appears twice"),
    ("twice_within", "retries: 0\ndeploying: {replicas: 1, replicas: 2}\n", "'replicas' appears twice"),
    ("number_as_key", "1: 2\n", "1"),
    ("null_as_key", "null: 2\n", "error: "),
    ("list_as_key", "? [1, 2]\n: 3\n", "YAML"),
    ("unknown", "modle: 2\n", "did you mean 'model'"),
]


@pytest.mark.parametrize(("content", "words"), [case[1:] for case in ALONE], ids=[case[0] for case in ALONE])
def test_file_that_is_no_experiment(tmp_path: Path, capfd: Any, content: str, words: str) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(content)
    assert words in refusal(capfd, file)


@pytest.mark.parametrize(("line", "words"), [case[1:] for case in ADDED], ids=[case[0] for case in ADDED])
def test_line_that_makes_an_experiment_wrong(experiment_file: Any, capfd: Any, line: str, words: str) -> None:
    file = experiment_file()
    file.write_text(file.read_text() + line)
    assert words in refusal(capfd, file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name: \xff\xfe\n", "not UTF-8 text"),
        ("name: tiny\n".encode("utf-16"), "not UTF-8 text"),
        ("name: é\n".encode("latin-1"), "not UTF-8 text"),
        (bytes(range(256)), "not UTF-8 text"),
    ],
    ids=["bytes", "utf-16", "latin-1", "binary"],
)
def test_file_in_another_encoding(tmp_path: Path, capfd: Any, content: bytes, words: str) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_bytes(content)
    assert words in refusal(capfd, file)


@pytest.mark.parametrize(
    "place", ["none.yaml", ".", "x" * 300, "a/" * 3000, "none\ufffdé\n.yaml", "/dev/null", "\udcff"]
)
def test_place_that_is_no_file(tmp_path: Path, capfd: Any, place: str) -> None:
    assert "no such file" in refusal(capfd, tmp_path / place)


def test_file_whose_lines_end_otherwise_and_that_begins_with_a_mark(experiment_file: Any, capfd: Any) -> None:
    file = experiment_file()
    content = file.read_text().replace("\n", "\r\n") + "#\tcomment\r\nretries:\t1\r\n"
    file.write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert "to do" in accepted(capfd, file)


def test_anchors_that_stand_for_little_are_taken(experiment_file: Any, capfd: Any) -> None:
    file = experiment_file()
    file.write_text(file.read_text().replace("retries", "# ") + "retries: &one 1\ndeploying: {replicas: *one}\n")
    assert "to do" in accepted(capfd, file)


SET = [
    ("load.streams.²=1", "'²' must be a position from 0 to 1"),
    ("load.streams." + "9" * 5000 + "=1", "must be a position"),
    ("load.streams.-1=1", "must be a position"),
    ("load.streams.7=1", "must be a position from 0 to 1"),
    ("model.kind.x.y=1", "model.kind is a plain value, not a section"),
    ("name.x=1", "name is a plain value"),
    ("load.seed=" + "9" * 5000, "is not a readable number"),
    ("load.seed=" + "[" * 5000, "nested deeper"),
    ("load.seed=[", "not valid YAML"),
    ("load.seed=\udcff", "not valid YAML"),
    ("load.seed=a: &a [*a]", "the alias 'a' contains itself"),
    ("load.seed=!!python/name:os.system", "YAML"),
    ("load.\n=1", "unknown key"),
    ("load.=1", "unknown key"),
    ("=1", "must be KEY=VALUE"),
    ("load", "must be KEY=VALUE"),
    ("", "must be KEY=VALUE"),
    ("accuracy.tasks.0.x.y=1", "error: "),
    ("x" * 100_000 + "=1", "unknown key"),
    ("load.seed=" + "x" * 100_000, "load"),
    ("load.seed={a: 1, a: 2}", "'a' appears twice"),
]


@pytest.mark.parametrize(("override", "words"), SET, ids=[f"{n:02}" for n in range(len(SET))])
def test_value_that_cannot_be_set(experiment_file: Any, capfd: Any, override: str, words: str) -> None:
    assert words in refusal(capfd, experiment_file(), override)


def test_section_that_is_missing_is_made_by_set(experiment_file: Any, capfd: Any) -> None:
    assert "to do" in accepted(capfd, experiment_file(), "deploying.replicas=2", "load.streams.0=3")


@pytest.mark.parametrize("content", [BOMB, "a: " + "[" * 400_000, "a: [" + "1," * 490_000 + "1]"], ids="abc")
def test_bomb_is_refused_by_the_command_itself_within_a_gibibyte(tmp_path: Path, content: str) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(content)
    told = subprocess.run(
        [sys.executable, "-c", _LOADS, str(file)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)),
    )
    assert (told.returncode, told.stderr.count("\n")) == (2, 1), told.stderr


_LOADS = """
import sys
from pathlib import Path
from configs.base import UserError
from configs.loading import load_experiment
try:
    load_experiment(Path(sys.argv[1]))
except UserError as error:
    sys.exit(print(error, file=sys.stderr) or 2)
"""
