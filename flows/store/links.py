"""A folder's files under other names: hard links, which take no space, and each of which outlives the other."""

import os
import tempfile
from pathlib import Path

_MAY_WRITE = 0o222


def link_files(folder: Path, destination: Path) -> None:
    """Give every file of a folder a second name in another, and take the right to write from both: they are one file.

    Raises:
        OSError: it cannot be: the other folder is on another file system, or on one without hard links, or the files
            belong to another user.
    """
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        link = destination / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        file.chmod(file.stat().st_mode & ~_MAY_WRITE)
        os.link(file, link)


def can_link(folder: Path, destination: Path) -> bool:
    """Whether files of one folder can be linked into another, tried with an empty one; a folder that does not
    exist yet counts as the one that it will lie in."""
    try:
        with (
            tempfile.TemporaryDirectory(dir=existing(folder), prefix=".link.") as source,
            tempfile.TemporaryDirectory(dir=existing(destination), prefix=".link.") as target,
        ):
            (Path(source) / "file").touch()
            os.link(Path(source) / "file", Path(target) / "file")
    except OSError:
        return False
    return True


def existing(folder: Path) -> Path:
    """A folder, or the nearest above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
