"""Files that a measurement would read - calibration sets, documents, task files - read in full by `plan`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refusals import accepted, refusal

from configs.calibration import LocalText
from flows.planning import stock_tasks, task_files

pytestmark = pytest.mark.usefixtures("hardware", "built")

ARC_EASY = {
    "task": "arc_easy",
    "training_split": "train",
    "validation_split": "validation",
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "{{choices.text}}",
    "doc_to_target": "{{choices.label.index(answerKey)}}",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
ROW = {"question": "x\u2028y", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
GZIP = b"\x1f\x8b\x08\x00" + bytes(range(40))


@pytest.fixture(autouse=True)
def _stock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock_tasks, "kinds", lambda accelerator: {"arc_easy": "task"})
    monkeypatch.setattr(stock_tasks, "data_sets", lambda name, accelerator: set())
    monkeypatch.setattr(stock_tasks, "definitions", lambda name, accelerator: [ARC_EASY])


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


TEXT = {"text": "word " * 20}
CALIBRATION: list[tuple[str, str, bytes, str]] = [
    ("broken_first", "c.jsonl", b'{"text": "a', "line 1 is not a JSON object in UTF-8"),
    ("broken_later", "c.jsonl", lines(*[TEXT] * 50) + b'{"text": ', "line 51 is not a JSON object in UTF-8"),
    ("missing_later", "c.jsonl", lines(*[TEXT] * 9, {"words": "a"}), "line 10 has no usable `text` or `messages`"),
    ("null_first", "c.jsonl", lines(None, TEXT), "line 1 is not a JSON object"),
    ("null_text", "c.jsonl", lines({"text": None}), "line 1 has no usable"),
    ("number_text", "c.jsonl", lines(TEXT, {"text": 3}), "line 2 has no usable"),
    ("empty_text", "c.jsonl", lines({"text": ""}), "give a text that is not empty"),
    ("blank_text", "c.jsonl", lines({"text": " \n"}), "give a text that is not empty"),
    ("list", "c.jsonl", lines(["text"]), "line 1 is not a JSON object"),
    ("array", "c.jsonl", b'[{"text": "a"},\n{"text": "b"}]', "line 1 is not a JSON object"),
    ("latin", "c.jsonl", '{"text": "é"}'.encode("latin-1"), "line 1 is not a JSON object in UTF-8"),
    ("utf16", "c.jsonl", '{"text": "a"}'.encode("utf-16"), "line 1 is not a JSON object in UTF-8"),
    ("half_a_pair", "c.jsonl", b'{"text": "\\ud83d"}', "line 1 is not a JSON object in UTF-8"),
    ("deep", "c.jsonl", b'{"text": ' + b"[" * 100_000, "line 1 is not a JSON object"),
    ("nul", "c.jsonl", bytes(1000), "line 1 is not a JSON object"),
    ("gzip_as_jsonl", "c.jsonl", GZIP, "line 1 is not a JSON object"),
    ("gzip", "c.jsonl.gz", GZIP, "ends in '.gz'; give a UTF-8 text file, .txt or .jsonl"),
    ("json", "c.json", b"[]", "ends in '.json'"),
    ("parquet", "c.parquet", b"PAR1", "ends in '.parquet'"),
    ("text_binary", "c.txt", bytes(range(256)), "is not UTF-8 text"),
    ("text_nul", "c.txt", b"a\0" * 500, "contains NUL characters"),
    ("text_latin", "c.txt", "é".encode("latin-1") * 500, "is not UTF-8 text (byte 0)"),
    ("text_blank", "c.txt", b" \n" * 500, "is empty"),
    ("text_empty", "c.txt", b"", "is empty"),
    ("no_row", "c.jsonl", b"\n\n", "is empty"),
    ("messages_text", "c.jsonl", lines({"messages": "hello"}), "line 1 has no usable"),
    ("messages_empty", "c.jsonl", lines({"messages": []}), "line 1 has no usable"),
    ("messages_no_role", "c.jsonl", lines({"messages": [{"content": "a"}]}), "messages with role and content"),
    ("messages_null", "c.jsonl", lines({"messages": [{"role": "user", "content": None}]}), "role and content"),
    ("messages_null_beside_text", "c.jsonl", lines({"messages": None, "text": "a"}), "line 1 has no usable"),
]


def calibrated(experiment_file: Any, file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    source = {"kind": "local", "path": str(file)}
    path: Path = experiment_file(
        schemes=[{"kind": "int4-w4a16", "group_size": 64}],
        calibration={"source": source, "samples": 4, "sequence_length": 8},
    )
    return path


@pytest.mark.parametrize(("name", "content", "words"), [c[1:] for c in CALIBRATION], ids=[c[0] for c in CALIBRATION])
def test_calibration_file_with_a_fault(
    experiment_file: Any, tmp_path: Path, capfd: Any, name: str, content: bytes, words: str
) -> None:
    told = refusal(capfd, calibrated(experiment_file, tmp_path / name, content))
    assert words in told
    assert told.startswith(f"error: calibration.source.path: {name}") or "is empty" in told


def test_calibration_rows_with_any_separator_of_lines_inside_are_taken(
    experiment_file: Any, tmp_path: Path, capfd: Any
) -> None:
    odd = ["a\u2028b " * 20, "c\u0085d\x0b\x0c\x1ce " * 20, "tab\tand\r\nline"]
    rows = b"\xef\xbb\xbf" + lines(*({"text": text} for text in odd)).replace(b"\n", b"\r\n") + b'\r\n\t{"text":\t"z"}'
    file = tmp_path / "my rows.jsonl"
    assert "to do" in accepted(capfd, calibrated(experiment_file, file, rows))
    assert list(LocalText(kind="local", path=file).documents()) == [*odd, "z"]


def test_calibration_text_with_a_byte_order_mark_has_none_in_its_words(tmp_path: Path) -> None:
    file = tmp_path / "c.txt"
    file.write_bytes(b"\xef\xbb\xbfa\r\nb")
    assert list(LocalText(kind="local", path=file).documents()) == ["a\nb"]


DOCUMENTS: list[tuple[str, dict[str, bytes], dict[str, Any], str]] = [
    ("gzip", {"test": GZIP}, {}, "test.jsonl: line 1 is not a JSON object in UTF-8"),
    ("columns", {"test": lines({"q": 1}, {"q": 2})}, {}, "line 1 lacks choices, question, which arc_easy needs"),
    ("column_later", {"test": lines(ROW, ROW, {"question": "a"})}, {}, "line 3 lacks choices"),
    ("broken", {"test": lines(ROW) + b"{"}, {}, "line 2 is not a JSON object"),
    ("array", {"test": json.dumps([ROW, ROW]).encode()}, {}, "line 1 is not a JSON object"),
    ("nul", {"test": bytes(100)}, {}, "line 1 is not a JSON object"),
    ("empty", {"test": b""}, {}, "test.jsonl contains no document"),
    ("one", {"test": lines(ROW)}, {}, "holds 1 documents; at least 2 are needed"),
    ("split", {"nosplit": lines(ROW, ROW)}, {}, "has no split 'nosplit'; splits: test, train, validation"),
    ("train_alone", {"train": lines(ROW, ROW)}, {}, "uses none of train; give its test split"),
    ("fewshot", {"test": lines(ROW, ROW)}, {"fewshot": 2}, "fewshot: 2 examples, and test.jsonl holds 2 documents"),
    ("fewshot_huge", {"test": lines(ROW, ROW)}, {"fewshot": 10**9}, "fewshot: 1000000000 is not valid"),
    (
        "fewshot_of_another_split",
        {"test": lines(ROW, ROW), "train": lines(ROW, ROW, ROW)},
        {"fewshot": 4},
        "fewshot: 4 examples, and train.jsonl holds 3 documents",
    ),
]


def with_documents(experiment_file: Any, folder: Path, files: dict[str, bytes], settings: dict[str, Any]) -> Path:
    for split, content in files.items():
        (folder / f"{split}.jsonl").write_bytes(content)
    named = {split: str(folder / f"{split}.jsonl") for split in files}
    path: Path = experiment_file(accuracy={"tasks": [{"name": "arc_easy", "data_files": named, **settings}]})
    return path


@pytest.mark.parametrize(("files", "settings", "words"), [d[1:] for d in DOCUMENTS], ids=[d[0] for d in DOCUMENTS])
def test_documents_with_a_fault(
    experiment_file: Any,
    tmp_path: Path,
    capfd: Any,
    files: dict[str, bytes],
    settings: dict[str, Any],
    words: str,
) -> None:
    told = refusal(capfd, with_documents(experiment_file, tmp_path, files, settings))
    assert words in told
    assert "accuracy.tasks.0" in told


def test_documents_that_are_sound_are_taken(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    rows = b"\xef\xbb\xbf" + lines(ROW, ROW, ROW).replace(b"\n", b"\r\n\n")
    path = with_documents(experiment_file, tmp_path, {"test": rows}, {"fewshot": 2})
    assert "(3 documents)" in accepted(capfd, path)


def test_more_examples_than_the_documents_of_a_local_task(experiment_file: Any, capfd: Any) -> None:
    path = experiment_file(accuracy={"tasks": [{"name": "everyday_science", "fewshot": 400}]})
    assert "fewshot: 400 examples, and questions.jsonl holds 400 documents" in refusal(capfd, path)


OWN = """
task: own
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: 0
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
TASKS: list[tuple[str, str, str]] = [
    ("empty", "", "own.yaml contains no task"),
    ("list", "- 1", "own.yaml contains no task"),
    ("text", "hello", "own.yaml contains no task"),
    ("unclosed", "a: [", "not valid YAML"),
    ("binary", "a: \x00", "not valid YAML"),
    ("twice", OWN + "task: other\n", "'task' appears twice"),
    ("deep", "a: " + "[" * 500, "nested deeper than 100 levels"),
    ("no_data", OWN.replace("rows.jsonl", "gone.jsonl"), "gone.jsonl is missing"),
    ("data_list", OWN.replace("{test: rows.jsonl}", "[rows.jsonl]"), "is not a mapping of a split to a file"),
    ("data_numbers", OWN.replace("rows.jsonl", "3"), "is not a mapping of a split to a file"),
    ("kwargs_list", OWN.replace("{data_files: {test: rows.jsonl}}", "[1]"), "dataset_kwargs"),
    ("split", OWN.replace("test_split: test", "test_split: dev"), "has no split 'test'; splits: dev"),
    ("column", OWN.replace("{{question}}", "{{query}}"), "line 1 lacks query, which own needs"),
    ("choices", OWN.replace("choices\n", "options\n"), "line 1 lacks options"),
    ("include_none", OWN + "include: other.yaml\n", "includes other.yaml, which is not a file beside it"),
    ("include_self", OWN + "include: own.yaml\n", "own.yaml includes itself"),
    ("function", OWN + "process_docs: !function utils.f\n", "names Python (!function)"),
    ("function_within", OWN + "x: {y: [!function os.system]}\n", "names Python (!function)"),
    ("python", OWN + "x: !!python/name:os.system\n", "not valid YAML"),
    ("template", OWN.replace("{{question}}", "{{ ''.__class__ }}"), "has a template that reaches beyond a document"),
    ("template_attr", OWN.replace("{{question}}", "{{ question|attr('x') }}"), "reaches beyond a document"),
    ("fetched_metric", OWN.replace("metric: acc,", "metric: acc, hf_evaluate: true,"), "fetches a metric"),
    ("metrics_text", OWN.partition("metric_list")[0] + "metric_list: acc\n", "error: "),
    ("metrics_unnamed", OWN.partition("metric_list")[0] + "metric_list: [{}]\n", "error: "),
    ("filters_text", OWN + "filter_list: 3\n", "error: "),
]


def with_task(experiment_file: Any, folder: Path, text: str, **settings: Any) -> Path:
    file = folder / "own.yaml"
    file.write_text(text)
    rows = {"question": "a", "choices": ["a", "b"]}
    (folder / "rows.jsonl").write_bytes(lines(rows, rows))
    path: Path = experiment_file(accuracy={"tasks": [{"name": "own", "path": str(file), **settings}]})
    return path


@pytest.mark.parametrize(("text", "words"), [task[1:] for task in TASKS], ids=[task[0] for task in TASKS])
def test_task_file_with_a_fault(experiment_file: Any, tmp_path: Path, capfd: Any, text: str, words: str) -> None:
    told = refusal(capfd, with_task(experiment_file, tmp_path, text))
    assert words in told
    assert "accuracy.tasks.0" in told


def test_task_file_is_taken_and_one_with_functions_where_it_is_asked_for(
    experiment_file: Any, tmp_path: Path, capfd: Any
) -> None:
    assert "to do" in accepted(capfd, with_task(experiment_file, tmp_path, OWN))
    text = OWN + "process_docs: !function utils.f\n"
    assert "to do" in accepted(capfd, with_task(experiment_file, tmp_path, text, runs_code=True))


def test_leave_to_run_code_changes_no_fingerprint(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    shown = [
        accepted(capfd, with_task(experiment_file, tmp_path, OWN, runs_code=leave)).splitlines()
        for leave in (False, True)
    ]
    assert shown[0] == shown[1]


def test_files_that_include_each_other_are_one_line(tmp_path: Path) -> None:
    from configs.accuracy import Task
    from configs.yaml_files import Malformed

    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"include: {other}.yaml\n")
    with pytest.raises(Malformed, match=r"a\.yaml includes itself"):
        task_files.read(tmp_path / "a.yaml", Task(name="a"))


Made = Callable[[Path], object]


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: __import__("os").mkfifo(p)], ids=["folder", "pipe"])
@pytest.mark.parametrize("place", ["calibration", "recipe", "task", "documents"])
def test_file_that_is_none(experiment_file: Any, tmp_path: Path, capfd: Any, make: Made, place: str) -> None:
    make(file := tmp_path / "x.jsonl")
    calibration = {"source": {"kind": "local", "path": str(file)}, "samples": 1, "sequence_length": 8}
    sections: dict[str, dict[str, Any]] = {
        "calibration": {"schemes": [{"kind": "int4-w4a16", "group_size": 64}], "calibration": calibration},
        "recipe": {"schemes": [{"kind": "recipe", "path": str(file), "calibrated": False}]},
        "task": {"accuracy": {"tasks": [{"name": "x", "path": str(file)}]}},
        "documents": {"accuracy": {"tasks": [{"name": "arc_easy", "data_files": {"test": str(file)}}]}},
    }
    assert "is not a file" in refusal(capfd, experiment_file(**sections[place]))
