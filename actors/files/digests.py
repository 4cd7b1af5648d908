"""Files by size and sha256: what a record tells of its checkpoint, and whether that is still so."""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Digests = Mapping[str, Mapping[str, Any]]
"""By a file's name under its folder: `bytes` and `sha256`."""


class Damaged(RuntimeError):
    """A checkpoint that is not whole."""


def digests(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Size and sha256 of some files of a folder."""
    sorted_names = sorted(names)
    hashes = _sha256_of_all(folder / name for name in sorted_names)
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256}
        for name, sha256 in zip(sorted_names, hashes, strict=True)
    }


def verify_files(folder: Path, files: Digests) -> None:
    """Compare a folder with the sizes and hashes that its record has; further files do not matter.

    Sizes come first: a file cut short is an error before anything is read.

    Raises:
        Damaged: a file is missing, of another size or of another content; it names the first one.
    """
    for name, digest in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            raise Damaged(f"{path}: missing")
        if (size := path.stat().st_size) != digest["bytes"]:
            raise Damaged(f"{path}: {size} bytes, but its record says {digest['bytes']}")
    names = sorted(files)
    for name, content_sha256 in zip(names, _sha256_of_all(folder / name for name in names), strict=True):
        if content_sha256 != files[name]["sha256"]:
            raise Damaged(f"{folder / name}: its content differs from its record (sha256)")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of_all(paths: Iterable[Path]) -> list[str]:
    """In the order of the paths; several at once, as hashing leaves the interpreter free."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(sha256, paths))
