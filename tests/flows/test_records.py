"""Records: finished means that the record is there; a fingerprint covers what a result depends on."""

from pathlib import Path
from typing import Any

import pytest

from flows.records import Store, difference
from flows.steps import Step


def step(**changes: Any) -> Step:
    fields: dict[str, Any] = {"kind": "quantize", "variant": "a", "settings": {"bits": 4, "deep": {"x": 1}}, **changes}
    return Step(**fields)


@pytest.mark.parametrize(
    "changes",
    [{"settings": {"bits": 8}}, {"inputs": {"base": "1"}}, {"libraries": {"torch": "2"}}, {"kind": "evaluate"}],
)
def test_fingerprint_changes_with_what_the_result_depends_on(changes: dict[str, Any]) -> None:
    assert step(**changes).fingerprint != step().fingerprint


def test_fingerprint_ignores_the_name_and_the_order_of_keys() -> None:
    reordered = step(settings={"deep": {"x": 1}, "bits": 4})
    assert reordered.fingerprint == step(variant="b").fingerprint == step().fingerprint


def test_step_that_ends_well_has_a_record_with_its_files(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writing(step()) as draft:
        (draft.folder / "weights").write_text("w")
        draft.result = {"size": 1}
        assert store.find(step()) is None
    record = store.find(step())
    assert record is not None
    assert record.result == {"size": 1}
    assert (record.folder / "weights").read_text() == "w"


def test_step_that_raises_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(KeyError), store.writing(step()) as draft:
        (draft.folder / "weights").write_text("w")
        raise KeyError
    assert store.find(step()) is None
    assert not list((tmp_path / "records/quantize").iterdir())


def test_step_finished_twice_keeps_the_first_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writing(step()) as first, store.writing(step()) as second:
        first.result, second.result = {"who": "first"}, {"who": "second"}
    record = store.find(step())
    assert record is not None
    assert record.result == {"who": "second"}, "the inner block ends first"
    assert len(list((tmp_path / "records/quantize").iterdir())) == 1


def test_difference_names_the_fields_of_the_nearest_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writing(step()):
        pass
    changed = step(settings={"bits": 4, "deep": {"x": 2}}, inputs={"base": "1"})
    nearest = store.nearest(changed)
    assert nearest is not None
    assert difference(changed, nearest) == ["inputs.base", "settings.deep.x"]
    assert store.nearest(step(variant="other")) is None
