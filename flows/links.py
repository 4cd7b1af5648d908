"""A folder's files under other names: hard links, which take no space, and each of which outlives the other."""

import os
from pathlib import Path

_MAY_WRITE = 0o222


def link_files(folder: Path, destination: Path) -> None:
    """Give every file of a folder a second name in another, and take the right to write from both: they are one file.

    Raises:
        OSError: it cannot be: the other folder is on another file system, or on one without hard links, or the files
            belong to another user.
    """
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = destination / file.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.chmod(file.stat().st_mode & ~_MAY_WRITE)
        os.link(file, place)
