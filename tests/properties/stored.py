"""What a store holds, as strategies, and what holds of everybody who reads it: laws, each of which takes one input."""

import io
import json
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from properties.loading import assert_one_line
from properties.values import changed, figures, garbled
from properties.written import WRITTEN

from configs.storage import Storage
from flows.store import clean, results
from flows.store.backend import FINISHED, RECORD, Broken, as_text, parsed
from flows.store.folder import draft_name
from flows.store.objects import ObjectFiles
from flows.store.records import Store
from flows.store.steps import Step
from flows.store.writers import WRITER, Writer

WHOLE, SPOILT = Step("evaluate", "v", {"seed": 1}), Step("evaluate", "v", {"seed": 2})
_PASSED_OVER = re.compile(r"passed over: .+: .+")


def records() -> st.SearchStrategy[dict[str, Any]]:
    """Whole ones, as a run writes them."""
    mapping = st.dictionaries(st.text(), figures(), max_size=4)
    seconds = st.integers(0, 1 << 40) | st.floats(allow_nan=False, allow_infinity=False)
    around = {
        "variant": st.text(),
        "fingerprint": st.from_regex(FINISHED, fullmatch=True),
        "identity": mapping,
        "seconds": seconds,
        "finished_at": seconds,
        "where": mapping,
    }
    return st.sampled_from(WRITTEN).flatmap(
        lambda written: st.fixed_dictionaries(
            {"kind": st.just(written[0]), "result": st.just(written[1]), **around}, optional={"colour": figures()}
        )
    )


def in_json(value: Any) -> bytes:
    """A value as JSON, as far as it has words for it."""
    return json.dumps(value, default=str, skipkeys=True).encode()


def spoilt(valid: Any) -> st.SearchStrategy[bytes]:
    """A JSON file with other values in it, or damaged, or no JSON at all."""
    written = changed(valid).map(in_json)
    beyond = written.map(
        lambda content: content.replace(b"Infinity", b"1e999")
    )  # which Python's json reads as infinite
    return written | beyond | written.flatmap(garbled) | st.binary(max_size=60)


def record_files() -> st.SearchStrategy[bytes]:
    """Records with the key that an object store adds, spoilt."""
    digests = {"a/b.json": {"bytes": 3, "sha256": "0" * 64}}
    stored = st.fixed_dictionaries({"at": st.just("0" * 8), "files": st.just(digests)})
    return st.builds(lambda record, at: {"schema": 1, **record, "objects": at}, records(), stored).flatmap(spoilt)


def record_is_read(content: bytes) -> bool:
    """A record that could be written as it is, or one line on why it cannot be read."""
    return any([_is_read_as(kind, content) for kind in results.RESULTS])


def _is_read_as(kind: str, content: bytes) -> bool:
    try:
        record = parsed(content, _named(kind))
    except Broken as broken:
        assert_one_line(str(broken))
        return False
    assert parsed(as_text({**record, "result": results.written(kind, record["result"])}), _named(kind)) == record
    return True


def written_record_is_read(record: dict[str, Any]) -> bool:
    kind = record["kind"]
    again = parsed(as_text(record), _named(kind))
    assert again == {**record, "result": results.read(kind, record["result"])}
    return True


def _named(kind: str) -> str:
    """A record's name in a store."""
    return f"records/{kind}/{'0' * 16}"


def store_goes_on(root: Path | str, write: Callable[[str, bytes], object], content: bytes) -> bool:
    """A spoilt record costs no other one: what can be read is read, and the rest is said in lines that name it.

    Args:
        write: puts a file under its name in the store's root.
    """
    store = Store.of(Storage.model_validate({"root": root}))
    if store.find(WHOLE) is None:
        with store.writing(WHOLE) as draft:
            draft.result = next(results.read(*written) for written in WRITTEN if written[0] == WHOLE.kind)
    write(f"records/{SPOILT.kind}/{SPOILT.fingerprint}/{RECORD}", content)
    said, again = io.StringIO(), Store.of(Storage.model_validate({"root": root}))
    with redirect_stderr(said):
        everything = again.all()
    names = {record.files.name for record in everything}
    assert any(WHOLE.fingerprint in name for name in names)
    for record in everything:
        if isinstance(record.files, ObjectFiles):
            assert record.files.pullable.bytes >= 0
    for line in said.getvalue().splitlines():
        assert _PASSED_OVER.fullmatch(line) and SPOILT.fingerprint in line, line
    entries = {entry.fingerprint for entry in again.entries()}
    assert entries == {WHOLE.fingerprint, SPOILT.fingerprint}
    assert {Path(leftover.name).name for leftover in clean.unreferred(again, set())} == entries
    return len(everything) > 1


def draft_is_judged(root: Path, content: bytes) -> bool:
    """Whoever has signed a draft, cleaning says who it was, or that nobody has: a young one is left alone, unless its
    writer was here and is dead."""
    folder = draft_name(root / "records" / SPOILT.kind / SPOILT.fingerprint)
    folder.mkdir(parents=True)
    (folder / WRITER).write_bytes(content)
    try:
        leftovers = clean.unreferred(Store.of(Storage.model_validate({"root": root})), set())
        writer = Writer.of(folder)
    finally:
        shutil.rmtree(folder)
    assert bool(leftovers) == (writer is not None and writer.on_this_host and not writer.alive)
    return writer is not None


def signatures() -> st.SearchStrategy[bytes]:
    """Of drafts, spoilt."""
    return st.sampled_from([asdict(Writer.this()), {**asdict(Writer.this()), "started": 1}]).flatmap(spoilt)


def into(folder: Path) -> Callable[[str, bytes], object]:
    """Puts files under their names into a folder."""

    def write(name: str, content: bytes) -> None:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    return write
