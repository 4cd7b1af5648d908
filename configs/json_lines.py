"""JSON lines as people and tools write them: a line ends at a line feed alone, since JSON lets a text hold any other
separator of lines, such as U+2028."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.yaml_files import Malformed

_LONGEST_LINE = 64 << 20


def rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every row with the number of its line; lines without anything are passed over.

    Raises:
        Malformed: a line is no JSON object in UTF-8.
    """
    try:
        with file.open("rb") as opened:
            number = 0
            while line := opened.readline(_LONGEST_LINE):
                number += 1
                if content := line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").strip():
                    yield number, _object(number, content)
    except OSError as error:
        raise Malformed(f"cannot be read ({error.strerror})") from None


def loaded(content: str | bytes) -> Any:
    """What JSON of programs' says.

    Raises:
        ValueError: it is none, or nested deeper than can be followed.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _object(number: int, line: bytes) -> dict[str, Any]:
    try:
        row = loaded(line.decode())
        if b"\\ud" in line.lower():
            json.dumps(row, ensure_ascii=False).encode()  # half a pair of surrogates is no text
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise Malformed(f"line {number} is not a JSON object in UTF-8")
    return row
