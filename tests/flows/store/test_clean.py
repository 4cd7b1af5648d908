"""Cleaning: what an experiment refers to and what is being written stays, and nothing outside the records goes."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests_support import checkpoint

from configs.storage import Storage
from flows.cli import BAD_INPUT, DONE, main
from flows.store import clean, links
from flows.store.folder import draft_name
from flows.store.records import Store
from flows.store.steps import Step
from flows.store.writers import Writer

TWO_DAYS_AGO = time.time() - 2 * 24 * 3600


def step(bits: int = 4) -> Step:
    return Step("quantize", "a", {"bits": bits})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one record of 3 MB, which nobody refers to."""
    made = Store.of(Storage(root=tmp_path / "store"))
    finish(made, step())
    return made


def finish(store: Store, done: Step) -> None:
    with store.writing(done) as draft:
        draft.result = checkpoint()
        (draft.folder / "weights").write_bytes(bytes(3_000_000))


def draft(store: Store, writer: Writer | None) -> Path:
    """What a writer has left, or is at work on."""
    folder = draft_name(folder_of(store, step(8)))
    folder.mkdir(parents=True)
    if writer:
        writer.sign(folder)
    return folder


def folder_of(store: Store, done: Step) -> Path:
    return Path(store.root) / "records" / done.kind / done.fingerprint


def reasons(store: Store, planned: frozenset[str] = frozenset()) -> dict[Path, str]:
    return {Path(store.root) / leftover.name: leftover.reason for leftover in clean.unreferred(store, planned)}


def dead() -> Writer:
    """A writer that was here and has ended, and whose process id is another's now."""
    return replace(Writer.this(), started=1)


def age(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (TWO_DAYS_AGO, TWO_DAYS_AGO))


def test_record_is_unreferred_until_an_experiment_names_it(store: Store) -> None:
    assert reasons(store) == {folder_of(store, step()): "no experiment refers to it"}
    assert not reasons(store, frozenset({step().fingerprint}))
    store.refer("tiny", [step()])
    assert not reasons(store)


def test_size_and_time_of_change_are_those_of_the_folder(store: Store) -> None:
    age(folder_of(store, step()))
    (leftover,) = clean.unreferred(store, frozenset())
    record = (folder_of(store, step()) / "record.json").stat().st_size
    assert (leftover.bytes, leftover.changed_at) == (3_000_000 + record, pytest.approx(TWO_DAYS_AGO))


def test_draft_of_a_living_writer_stays_however_old(store: Store) -> None:
    store.refer("tiny", [step()])
    age(draft(store, Writer.this()))
    assert not reasons(store)


def test_draft_of_a_dead_writer_goes(store: Store) -> None:
    store.refer("tiny", [step()])
    left = draft(store, dead())
    assert reasons(store) == {left: "its writer is dead"}


@pytest.mark.parametrize("writer", [Writer("elsewhere", 1, 1), None], ids=["another host", "nobody"])
def test_draft_whose_writer_cannot_be_checked_goes_after_a_day(store: Store, writer: Writer | None) -> None:
    store.refer("tiny", [step()])
    left = draft(store, writer)
    inside = left / "weights"
    inside.write_text("w")
    age(left)
    assert "not changed for a day" in reasons(store)[left]
    os.utime(inside)
    assert not reasons(store), "a file inside has changed"


def test_folder_without_a_record_goes_though_an_experiment_names_it(store: Store) -> None:
    store.refer("tiny", [step()])
    (folder_of(store, step()) / "record.json").unlink()
    assert reasons(store) == {folder_of(store, step()): "has no record"}


def test_what_the_store_did_not_name_is_left_alone(store: Store, tmp_path: Path) -> None:
    store.refer("tiny", [step()])
    (Path(store.root) / "records/quantize/my notes").mkdir()
    (Path(store.root) / "records" / "notes.txt").write_text("mine")
    (tmp_path / "elsewhere/0123456789abcdef").mkdir(parents=True)
    (Path(store.root) / "records" / "linked").symlink_to(tmp_path / "elsewhere")
    (Path(store.root) / "records/quantize/0123456789abcdef").symlink_to(tmp_path / "elsewhere")
    assert not reasons(store)


def test_record_that_came_to_be_referred_to_is_kept_whole(store: Store) -> None:
    (leftover,) = clean.unreferred(store, frozenset())
    store.refer("tiny", [step()])
    assert not leftover.remove()
    assert store.find(step())
    assert [path.name for path in folder_of(store, step()).parent.iterdir()] == [step().fingerprint]


def test_folder_that_cannot_be_removed_is_named(store: Store, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert main(["clean", "--store", str(store.root), "--remove"]) == BAD_INPUT
    assert f"records/quantize/{step().fingerprint}: cannot be removed (Permission denied)" in capfd.readouterr().err
    assert store.find(step()) is None, "what is half removed is no record"


def test_command_lists_and_removes_nothing_unasked(store: Store, capfd: Any) -> None:
    left = draft(store, dead())
    assert main(["clean", "--store", str(store.root)]) == DONE
    out = capfd.readouterr().out
    assert f"records/quantize/{step().fingerprint}" in out
    assert left.name in out
    assert "2 folders, 3.0 MB that no experiment needs" in out
    assert store.find(step())
    assert left.is_dir()


def test_command_says_what_mlflow_has_too(store: Store, tmp_path: Path, capfd: Any) -> None:
    links.link_files(folder_of(store, step()), tmp_path / "models")
    assert main(["clean", "--store", str(store.root)]) == DONE
    assert "1 folder, 3.0 MB (3.0 of them in use until MLflow's models are deleted, too)" in capfd.readouterr().out
    assert main(["clean", "--store", str(store.root), "--remove"]) == DONE
    assert (tmp_path / "models/weights").stat().st_size == 3_000_000


def test_command_removes_what_it_says(store: Store, capfd: Any) -> None:
    finish(store, step(8))
    store.refer("tiny", [step(8)])
    draft(store, dead())
    assert main(["clean", "--store", str(store.root), "--remove"]) == DONE
    out = capfd.readouterr().out
    assert f"removed records/quantize/{step().fingerprint}" in out
    assert "2 folders, 3.0 MB removed" in out
    assert [path.name for path in (Path(store.root) / "records/quantize").iterdir()] == [step(8).fingerprint]
    assert main(["clean", "--store", str(store.root)]) == DONE
    assert "nothing to remove" in capfd.readouterr().out


@pytest.mark.usefixtures("hardware", "built")
def test_command_keeps_what_an_experiment_plans(experiment_file: Any, store: Store, capfd: Any) -> None:
    path = experiment_file()
    assert main(["plan", str(path), "--steps"]) == DONE
    fingerprint = next(word for word in capfd.readouterr().out.split() if len(word) == 16 and word.isalnum())
    kept = Path(store.root) / "records" / "prepare" / fingerprint
    kept.mkdir(parents=True)
    (kept / "record.json").write_text(json.dumps({}))
    arguments = ["clean", str(path), "--store", str(store.root), "--remove"]
    assert main(arguments) == DONE
    assert kept.is_dir()
    assert store.find(step()) is None


def test_folder_that_is_no_store(tmp_path: Path, capfd: Any) -> None:
    assert main(["clean", "--store", str(tmp_path), "--remove"]) == BAD_INPUT
    assert "contains no records" in capfd.readouterr().err


def test_experiment_file_that_is_missing(store: Store, capfd: Any) -> None:
    assert main(["clean", "none.yaml", "--store", str(store.root), "--remove"]) == BAD_INPUT
    assert "none.yaml: no such file" in capfd.readouterr().err
    assert store.find(step())


def test_store_by_default_is_that_of_the_experiments(store: Store, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSF_STORE", str(store.root))
    assert main(["clean"]) == DONE
    assert "1 folder, 3.0 MB" in capfd.readouterr().out
