"""A store in an object store keeps the promises of one in a folder, and its cache its bound."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests_support import checkpoint

from actors.files.checkpoint_cache import Cache, Pullable
from actors.files.digests import Damaged
from actors.files.object_store import filesystem, listed, put_folder, write
from configs.base import UserError
from configs.storage import Storage, storage_at
from flows.store import clean
from flows.store.records import Record, Store, nearest
from flows.store.steps import Step

pytestmark = [pytest.mark.fast, pytest.mark.usefixtures("objects")]


@pytest.fixture(params=["folder", "objects"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    root = tmp_path / "store"
    return Storage(root=f"objects://{root}" if request.param == "objects" else root, cache=tmp_path / "cache")


@pytest.fixture
def address(tmp_path: Path) -> Storage:
    return Storage(root=f"objects://{tmp_path / 'store'}", cache=tmp_path / "cache")


def step(bits: int = 4) -> Step:
    return Step("quantize", "a", {"bits": bits})


def finish(storage: Storage, done: Step, content: str = "w") -> Record:
    store = Store.of(storage)
    with store.writing(done) as draft:
        (draft.folder / "checkpoint").mkdir()
        (draft.folder / "checkpoint/weights").write_text(content)
        draft.result = checkpoint()
    record = Store.of(storage).find(done)
    assert record is not None
    return record


def content(record: Record) -> str:
    with record.files.held() as folder:
        return (folder / "checkpoint/weights").read_text()


def test_step_has_its_record_and_files_once_it_has_ended(storage: Storage) -> None:
    store = Store.of(storage)
    with store.writing(step()) as draft:
        draft.result = checkpoint()
        (draft.folder / "weights").write_text("w")
        assert store.find(step()) is None
        assert nearest(step(), store.all()) is None
    record = Store.of(storage).find(step())
    assert record is not None
    with record.files.held() as folder:
        assert (folder / "weights").read_text() == "w"
    assert nearest(step(8), store.all()) == record


def test_step_that_raises_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(KeyError), Store.of(storage).writing(step()) as draft:
        (draft.folder / "weights").write_text("w")
        raise KeyError
    assert Store.of(storage).find(step()) is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_step_finished_twice_keeps_the_first_record_with_its_own_files(storage: Storage) -> None:
    store = Store.of(storage)
    with store.writing(step()) as outer, store.writing(step()) as inner:
        for draft, who in ((outer, "outer"), (inner, "inner")):
            (draft.folder / "checkpoint").mkdir()
            (draft.folder / "checkpoint/weights").write_text(who)
            draft.result = checkpoint(commit=who)
    record = Store.of(storage).find(step())
    assert record is not None
    assert (record.result.commit, content(record)) == ("inner", "inner"), "the inner block ends first"


def test_crash_between_files_and_record_leaves_nothing_visible(address: Storage, monkeypatch: Any) -> None:
    store = Store.of(address)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("flows.store.objects.object_store.write_new", _die)
        patch.setattr("flows.store.objects.ObjectWork.discard", lambda _work: None)
        finish(address, step())
    assert [name for name in listed(str(address.root)) if name.endswith("weights")], "files were put"
    assert Store.of(address).find(step()) is None
    assert nearest(step(), store.all()) is None
    assert content(finish(address, step(), "again")) == "again"


def _die(*_: Any) -> None:
    raise SystemExit


def test_cleaning_keeps_what_is_referred_to_and_removes_the_rest(storage: Storage) -> None:
    store, kept = Store.of(storage), step(8)
    finish(storage, step())
    finish(storage, kept)
    store.refer("tiny", [kept])
    (leftover,) = clean.unreferred(store, frozenset())
    assert (Path(leftover.name).name, leftover.reason) == (step().fingerprint, "no experiment refers to it")
    assert leftover.remove()
    assert Store.of(storage).find(step()) is None
    assert content(finish(storage, kept)) == "w"
    assert not clean.unreferred(store, frozenset())


@pytest.mark.parametrize(
    "objects_of_record",
    [
        None,
        [],
        {"at": "0" * 8},
        {"at": "..", "files": {}},
        {"at": "0" * 8, "files": {"a": {"bytes": -1, "sha256": ""}}},
    ],
)
def test_record_that_does_not_say_where_its_files_are_is_passed_over(
    address: Storage, tmp_path: Path, capfd: Any, objects_of_record: Any
) -> None:
    finish(address, step())
    file = tmp_path / f"store/records/quantize/{step().fingerprint}/record.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"objects": objects_of_record}))
    assert Store.of(address).find(step()) is None
    assert "does not say where its files are" in capfd.readouterr().err


def test_record_that_is_empty_is_cleaned_away(address: Storage, tmp_path: Path) -> None:
    finish(address, step())
    file = tmp_path / f"store/records/quantize/{step().fingerprint}/record.json"
    file.write_bytes(b"")
    store = Store.of(address)
    leftovers = clean.unreferred(store, frozenset())
    assert [leftover.remove() for leftover in leftovers if not leftover.name.endswith(".partial")]
    assert not file.exists()


def test_record_that_came_to_be_referred_to_is_put_back(storage: Storage) -> None:
    store = Store.of(storage)
    finish(storage, step())
    (leftover,) = clean.unreferred(store, frozenset())
    store.refer("tiny", [step()])
    assert not leftover.remove()
    record = Store.of(storage).find(step())
    assert record is not None
    assert content(record) == "w"


def test_draft_that_was_finished_meanwhile_is_not_removed(address: Storage) -> None:
    store = Store.of(address)
    with store.writing(step()) as draft:
        draft.result = checkpoint()
        (draft.folder / "checkpoint").mkdir()
        (draft.folder / "checkpoint/weights").write_text("w")
        (entry,) = store.entries()
        assert entry.is_draft
        assert entry.writer is not None
        assert entry.writer.alive
    assert not store.remove(entry, lambda: False)
    record = Store.of(address).find(step())
    assert record is not None
    assert content(record) == "w"


def test_experiment_files_are_in_the_store_and_at_hand(storage: Storage) -> None:
    Store.of(storage).keep("tiny", "one.json", {"a": 1})
    assert Store.of(storage).kept("tiny", "one.json") == {"a": 1}
    assert Store.of(storage).kept("tiny", "none.json") is None
    assert (storage.experiments / "tiny/one.json").is_file()


def pullable(tmp_path: Path, name: str, size: int) -> Pullable:
    folder, address = tmp_path / "made" / name, f"objects://{tmp_path / 'store'}/{name}"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(bytes(size))
    return Pullable(name, address, put_folder(folder, address))


def entries(cache: Cache) -> set[str]:
    return {path.name for path in cache.folder.iterdir() if path.is_dir()} - {"locks"}


def test_cache_removes_what_was_used_longest_ago_and_nothing_in_use(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", limit_bytes=250)
    one, two, three, four = (pullable(tmp_path, name, 100) for name in ("one", "two", "three", "four"))
    with cache.held(one):
        with cache.held(two):
            assert entries(cache) == {"one", "two"}
        with cache.held(three):
            assert entries(cache) == {"one", "three"}, "two is not in use"
            with cache.held(four):
                assert entries(cache) == {"one", "three", "four"}, "all are in use"
            assert entries(cache) == {"one", "three"}, "the bound holds again"
    assert entries(cache) == {"one", "three"}


def test_damaged_file_is_pulled_again(tmp_path: Path) -> None:
    cache, wanted = Cache(tmp_path / "cache", 1000), pullable(tmp_path, "one", 100)
    with cache.held(wanted) as folder:
        (folder / "weights").write_bytes(b"x" * 100)
        with pytest.raises(Damaged, match="in use"):
            cache.hold(wanted)
    with cache.held(wanted) as folder:
        assert (folder / "weights").read_bytes() == bytes(100)


def test_object_that_is_damaged_in_the_store_never_gets_a_name(tmp_path: Path) -> None:
    cache, wanted = Cache(tmp_path / "cache", 1000), pullable(tmp_path, "one", 100)
    write(f"{wanted.address}/weights", b"x" * 100)
    with pytest.raises(Damaged, match=r"differs from its record \(sha256\)"):
        cache.hold(wanted)
    assert "one" not in entries(cache)


def test_use_of_a_process_that_died_does_not_count(tmp_path: Path) -> None:
    cache, wanted = Cache(tmp_path / "cache", 150), pullable(tmp_path, "one", 100)
    process = multiprocessing.get_context("fork").Process(target=cache.hold, args=(wanted,))
    process.start()
    process.join()
    assert entries(cache) == {"one"}
    with cache.held(pullable(tmp_path, "two", 100)):
        assert entries(cache) == {"two"}


@pytest.mark.parametrize(
    "wrong", ["s3://key:secret@bucket/x", "s3://bucket/x?secret=1", "simplecache::s3://bucket", "memory://x", "s3://"]
)
def test_address_that_cannot_be_or_holds_secrets_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Storage(root=wrong)
    assert "secret" not in refused.value.errors()[0]["msg"]
    with pytest.raises(UserError, match=r"storage\.root: "):
        storage_at(wrong)


def test_address_of_a_local_folder_is_the_folder() -> None:
    assert Storage(root="file:///tmp/x").root == Path("/tmp/x")


def test_backend_that_is_not_installed_is_named() -> None:
    with pytest.raises(UserError, match="ftps"):
        filesystem("ftps://bucket/x")
    with pytest.raises(UserError, match=r"needs the package s3fs; .*pip install"):
        filesystem("s3://bucket/x")
