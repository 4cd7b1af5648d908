"""What the documents of an evaluation answered, read from its samples."""

import json
from pathlib import Path

from tests_support import record

from actors.artifacts import Evaluation
from configs.accuracy import Task
from flows.analysis import answers
from flows.store.records import Record


def drawn(folder: Path, values: dict[tuple[int, int], float]) -> Record[Evaluation]:
    """An evaluation with several answers to each document, by document and seed."""
    evaluated = record(folder, "acc", [])
    rows = ({"doc_id": d, "doc_hash": f"h{d}", "seed": s, "acc": value} for (d, s), value in values.items())
    (folder / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return evaluated


def test_answers_to_one_document_are_paired_by_their_seed_and_share_it_as_source(tmp_path: Path) -> None:
    values = {(0, 42): 1.0, (0, 43): 0.0, (1, 42): 1.0, (1, 43): 1.0}
    task = answers.read([drawn(tmp_path / "v", values)], [Task(name="task", seeds=2)])["task"]
    assert task.values == {"task/0/h0/42": 1.0, "task/0/h0/43": 0.0, "task/1/h1/42": 1.0, "task/1/h1/43": 1.0}
    assert task.sources == {key: key.rpartition("/")[0] for key in task.values}
    assert answers.overall({"task": task}) == {"task.acc": 0.75}


def test_document_with_one_answer_is_its_own_source(tmp_path: Path) -> None:
    task = answers.read([record(tmp_path / "v", "acc", [1.0, 0.0])], [Task(name="task")])["task"]
    assert (list(task.values), task.sources) == (["task/0/0", "task/1/1"], {})


def test_value_that_is_none_is_no_answer(tmp_path: Path) -> None:
    task = answers.read([record(tmp_path / "v", "acc", [1.0, None])], [Task(name="task")])["task"]
    assert list(task.values.values()) == [1.0]
