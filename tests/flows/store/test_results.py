"""What records hold: those that older versions wrote are read, and written again they are the same."""

from pathlib import Path
from typing import Any

import pytest
from properties.written import SIDE, WRITTEN
from tests_support import benchmark, checkpoint, scored

from actors.artifacts import Evaluation, Interference, Prompts
from actors.as_json import Misfit
from configs.storage import Storage
from flows.store.records import Store
from flows.store.results import RESULTS, LookResult, Result, read, written
from flows.store.steps import Step


@pytest.mark.parametrize(("kind", "content"), WRITTEN)
def test_result_is_written_as_it_was_before(kind: str, content: dict[str, Any]) -> None:
    result = read(kind, content)
    assert isinstance(result, RESULTS[kind])
    assert read(kind, written(kind, result)) == result
    again = written(kind, result)
    assert {key: again[key] for key in content} == _as_tuples(content)


def _as_tuples(value: Any) -> Any:
    """A list as the dataclasses have it."""
    if isinstance(value, dict):
        return {key: _as_tuples(item) for key, item in value.items()}
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def test_null_of_an_older_record_is_nothing_to_say() -> None:
    absent = dict.fromkeys(("base", "interference", "first", "start", "load_s", "block"))
    assert read("benchmark", {**SIDE, **absent}) == read("benchmark", SIDE)


def test_evaluation_that_says_nothing_of_its_prompts_is_read() -> None:
    result = read("evaluate", {"tasks": {"t": {"metrics": {"acc": 0.5}, "documents": 4, "higher_is_better": {}}}})
    assert isinstance(result, Evaluation)
    assert result.prompts == Prompts()


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("quantize", checkpoint(7, calibration_commit="c")),
        ("evaluate", Evaluation({"t": scored("acc", documents=2)})),
        ("benchmark", benchmark([{"asked": 1, "unit": "streams"}], [])),
        ("look", LookResult(False, "more")),
    ],
)
def test_record_gives_back_what_was_written(tmp_path: Path, kind: str, result: Result) -> None:
    store, step = Store.of(Storage(root=tmp_path)), Step[Any](kind, "a", {})
    with store.writing(step) as draft:
        draft.result = result
    record = store.find(step)
    assert record is not None
    assert record.result == result


def test_result_that_could_not_be_read_again_is_not_written() -> None:
    crowd = Interference("a", 60.0, 59.0, 0.02, limit="5 %")  # type: ignore[arg-type]
    with pytest.raises(Misfit, match=r"has no `interference\.limit` that can be read"):
        written("benchmark", benchmark([], interference=crowd))


def test_step_without_a_result_has_no_record(tmp_path: Path) -> None:
    store, step = Store.of(Storage(root=tmp_path)), Step[Any]("look", "a", {})
    with pytest.raises(RuntimeError, match="look ended without a result"), store.writing(step):
        pass
    assert store.find(step) is None
