"""Writers: alive is the same process, not one that was given its id."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flows.store.writers import WRITER, Writer


def test_signature_is_read_back(tmp_path: Path) -> None:
    Writer.this().sign(tmp_path)
    assert Writer.of(tmp_path) == Writer.this()
    assert Writer.this().alive
    assert Writer.this().on_this_host


def test_process_with_the_id_of_an_earlier_one_is_not_that_one() -> None:
    assert not replace(Writer.this(), started=1).alive


def test_writer_is_dead_as_soon_as_it_has_ended_waited_for_or_not() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        fields = Path(f"/proc/{process.pid}/stat").read_text().split(") ")[1].split()
        writer = replace(Writer.this(), process=process.pid, started=int(fields[19]))
        assert writer.alive
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not writer.alive, "not waited for yet"
    assert not writer.alive


def test_writer_of_another_host_is_not_on_this_one() -> None:
    assert not replace(Writer.this(), host="elsewhere").on_this_host


@pytest.mark.parametrize(
    "content",
    ["", '{"host"', "[]", '{"host": "a"}', "[" * 100_000, '{"host": "a", "process": "\\u0000", "started": 1}'],
)
def test_signature_that_is_none_is_nobody_s(tmp_path: Path, content: str) -> None:
    (tmp_path / WRITER).write_text(content)
    assert Writer.of(tmp_path) is None


def test_folder_that_nobody_signed(tmp_path: Path) -> None:
    assert Writer.of(tmp_path) is None
