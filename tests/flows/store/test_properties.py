"""Laws of all that a store holds (`tests/properties`), tried on a few inputs; `tests/bench/fuzz_inputs.py` goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import left_behind, stored
from properties.briefly import BRIEFLY
from properties.left_behind import Site


@BRIEFLY
@given(stored.record_files())
def test_record_is_read_or_one_line_says_why_not(content: bytes) -> None:
    stored.record_is_read(content)


@BRIEFLY
@given(stored.records())
def test_record_that_is_written_is_read_back_equal(record: dict[str, Any]) -> None:
    stored.written_record_is_read(record)


@BRIEFLY
@given(stored.record_files())
def test_spoilt_record_costs_no_other_in_a_folder(tmp_path: Path, content: bytes) -> None:
    stored.store_goes_on(tmp_path / "store", stored.into(tmp_path / "store"), content)


@BRIEFLY
@given(stored.record_files())
def test_spoilt_record_costs_no_other_in_an_object_store(objects: None, tmp_path: Path, content: bytes) -> None:
    stored.store_goes_on(f"objects://{tmp_path / 'store'}", stored.into(tmp_path / "store"), content)


@BRIEFLY
@given(stored.signatures())
def test_draft_is_judged_by_who_has_signed_it(tmp_path: Path, content: bytes) -> None:
    stored.draft_is_judged(tmp_path / "store", content)


@pytest.fixture(scope="module", name="site")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with left_behind.site(tmp_path_factory.mktemp("site")) as made:
        yield made


def test_commands_go_on_with_what_a_run_has_left(site: Site) -> None:
    assert [name for name, content in site.left.items() if not site.commands_go_on(name, content)] == []


@settings(BRIEFLY, max_examples=8)
@given(st.data())
def test_commands_go_on_or_refuse_beside_a_spoilt_file(site: Site, data: st.DataObject) -> None:
    site.commands_go_on(*data.draw(site.files()))
