"""Records: finished means that the record is there; a fingerprint covers what a result depends on."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests_support import checkpoint

from configs.base import UserError
from configs.storage import Storage
from flows.store import folder as folder_backend
from flows.store import records
from flows.store.backend import RECORD
from flows.store.records import DEPLOYMENT, Store, difference, nearest
from flows.store.steps import Step
from flows.store.writers import WRITER, Writer


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
    store = Store.of(Storage(root=tmp_path))
    with store.writing(step()) as draft:
        (draft.folder / "weights").write_text("w")
        draft.result = checkpoint(1)
        assert store.find(step()) is None
    record = store.find(step())
    assert record is not None
    assert record.result == checkpoint(1)
    with record.files.held() as folder:
        assert (folder / "weights").read_text() == "w"


def test_seconds_of_a_step_leave_out_its_wait_for_a_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0.0, 50.0, 60.0, 60.0))
    monkeypatch.setattr(records, "time", SimpleNamespace(time=lambda: next(clock)))
    store = Store.of(Storage(root=tmp_path))
    with store.writing(step()) as draft, draft.on("a node"):
        draft.result = checkpoint()
    record = store.find(step())
    assert record is not None
    assert record.seconds == 10


def test_step_that_raises_leaves_nothing(tmp_path: Path) -> None:
    store = Store.of(Storage(root=tmp_path))
    with pytest.raises(KeyError), store.writing(step()) as draft:
        (draft.folder / "weights").write_text("w")
        raise KeyError
    assert store.find(step()) is None
    assert not list((tmp_path / "records/quantize").iterdir())


def test_step_finished_twice_keeps_the_first_record(tmp_path: Path) -> None:
    store = Store.of(Storage(root=tmp_path))
    with store.writing(step()) as first, store.writing(step()) as second:
        first.result, second.result = checkpoint(1), checkpoint(2)
    record = store.find(step())
    assert record is not None
    assert record.result == checkpoint(2), "the inner block ends first"
    assert len(list((tmp_path / "records/quantize").iterdir())) == 1


def test_difference_names_the_fields_of_the_nearest_record(tmp_path: Path) -> None:
    store = Store.of(Storage(root=tmp_path))
    with store.writing(step()) as draft:
        draft.result = checkpoint()
    changed = step(settings={"bits": 4, "deep": {"x": 2}}, inputs={"base": "1"})
    record = nearest(changed, store.all())
    assert record is not None
    assert difference(changed, record) == ["inputs.base", "settings.deep.x"]
    assert nearest(step(variant="other"), store.all()) is None


def test_nearest_is_never_a_draft(tmp_path: Path) -> None:
    store = Store.of(Storage(root=tmp_path))
    with store.writing(step()) as draft:
        draft.result = checkpoint()
        (draft.folder / RECORD).write_text("half a rec")
        assert store.all() == []


def test_draft_is_signed_by_its_writer_and_the_record_is_not(tmp_path: Path) -> None:
    store = Store.of(Storage(root=tmp_path))
    with store.writing(step()) as draft:
        draft.result, writer = checkpoint(), Writer.of(draft.folder)
        assert writer == Writer.this()
        assert writer.alive
    assert not (tmp_path / "records/quantize" / step().fingerprint / WRITER).exists()


def test_record_takes_its_name_when_all_of_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, flushed = Store.of(Storage(root=tmp_path)), []
    final, flush = tmp_path / "records/quantize" / step().fingerprint, folder_backend._flush

    def noted(path: Path) -> None:
        flush(path)
        flushed.append((path.name, final.exists()))

    monkeypatch.setattr(folder_backend, "_flush", noted)
    with store.writing(step()) as draft:
        draft.result = checkpoint()
        (draft.folder / "checkpoint").mkdir()
        (draft.folder / "checkpoint/weights").write_text("w")
    before = [name for name, exists in flushed if not exists]
    assert {"weights", "checkpoint", RECORD} < set(before)
    assert before[-1] == draft.folder.name, "the names in a folder come after their content"
    assert [name for name, exists in flushed if exists] == ["quantize"], "its new name is on the disk too"


@pytest.mark.parametrize("failing", ["rename", "flush", "write"])
def test_full_disk_is_raised_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target, name = {"rename": (Path, "rename"), "flush": (os, "fsync"), "write": (folder_backend, "_write")}[failing]
    store = Store.of(Storage(root=tmp_path))
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"), store.writing(step()) as draft:
        draft.result = checkpoint()
        patch.setattr(target, name, full)
    assert store.find(step()) is None
    assert not list((tmp_path / "records/quantize").iterdir())


def test_folder_without_a_record_in_the_place_of_one_is_an_error(tmp_path: Path) -> None:
    store = Store.of(Storage(root=tmp_path))
    with pytest.raises(OSError, match="not empty"), store.writing(step()) as draft:
        draft.result = checkpoint()
        (tmp_path / "records/quantize" / step().fingerprint).mkdir()
        (tmp_path / "records/quantize" / step().fingerprint / "weights").write_text("half")


def test_experiment_refers_to_the_steps_of_its_latest_run(tmp_path: Path) -> None:
    store = Store.of(Storage(root=tmp_path))
    one, other = step(), step(kind="evaluate")
    store.refer("first", [one, other])
    store.refer("second", [other])
    assert store.referred() == {one.fingerprint, other.fingerprint}
    store.refer("first", [])
    assert store.referred() == {other.fingerprint}
    assert [path.name for path in (tmp_path / "experiments/first").iterdir()] == ["steps.json"]


def test_reference_that_cannot_be_written_leaves_the_former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.of(Storage(root=tmp_path))
    store.refer("first", [step()])

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(b"[{")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder_backend, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        store.refer("first", [step(kind="evaluate")])
    assert store.referred() == {step().fingerprint}
    assert [path.name for path in (tmp_path / "experiments/first").iterdir()] == ["steps.json"]


NO_STEPS = ["[{", '{"a": 1}', "{}", '""', '["a"]', '[{"kind": "quantize"}]', '[{"fingerprint": 3}]', "[" * 100_000]


@pytest.mark.parametrize("content", NO_STEPS, ids=range(len(NO_STEPS)))
def test_reference_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    store = Store.of(Storage(root=tmp_path))
    store.refer("first", [step()])
    (tmp_path / "experiments/first/steps.json").write_text(content)
    with pytest.raises(UserError, match=r"first/steps\.json: not a list of steps"):
        store.referred()


def test_deployed_checkpoint_stays_referred_to_when_its_experiment_changes(tmp_path: Path) -> None:
    store = Store.of(Storage(root=tmp_path))
    store.refer("one", [step()])
    store.keep("one", DEPLOYMENT, {"checkpoint": step().fingerprint})
    other = step(variant="b", settings={"bits": 8})
    store.refer("one", [other])
    assert store.referred() == {step().fingerprint, other.fingerprint}
    for content in ([], {"checkpoint": 3}, {"checkpoint": "a", "records": "b"}, {"checkpoint": "a", "previous": [1]}):
        store.keep("one", DEPLOYMENT, content)
        with pytest.raises(UserError, match="not a deployment"):
            store.referred()
