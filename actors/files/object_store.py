"""Files in an object store, by fsspec. It has no folders and no rename; what it has is a write that is seen whole
or not at all, and one that is refused where something is there already.

It runs in the driver's environment, on any node: in the driver, or as a task on a node.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from actors.files.digests import Digests, digests, verify_files
from configs.base import UserError


@dataclass(frozen=True)
class Stored:
    """One object: its size in bytes, and when it was written (seconds since 1970)."""

    bytes: int
    changed_at: float


def filesystem(address: str) -> tuple[Any, str]:
    """fsspec's file system of an address, which remembers no listing, and the path in it.

    Raises:
        UserError: no installed package knows that kind of address.
    """
    import fsspec
    from fsspec.registry import known_implementations

    protocol = address.partition("://")[0]
    try:
        files_and_path: tuple[Any, str] = fsspec.url_to_fs(address, use_listings_cache=False)
    except ValueError:
        raise UserError(
            f"storage.root: {address}: fsspec knows no {protocol}:// addresses; give a folder or an address such as "
            "s3://BUCKET/PREFIX"
        ) from None
    except ImportError:
        package = str(known_implementations[protocol]["class"]).partition(".")[0]
        raise UserError(
            f"storage.root: {address}: {protocol}:// needs the package {package}; add it to the driver's environment "
            f"on every node: uv pip install --python $(python3 actors/environments.py path driver) {package}"
        ) from None
    return files_and_path


def unusable(address: str, probe: str) -> str | None:
    """Why nothing can be written under an address from here, or read or removed; None where that works.

    Args:
        probe: a name that nothing else has.

    Raises:
        UserError: no installed package knows that kind of address.
    """
    files, path = filesystem(f"{address}/{probe}")
    try:
        files.pipe_file(path, b"")
        files.cat_file(path)
        files.rm_file(path)
    except Exception as error:  # each backend has errors of its own
        return f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
    return None


def state(address: str, probe: str) -> dict[str, Any]:
    """What `actors.placement.machine.state` says of a folder, of an address: `unwritable` and `sees_probe`."""
    try:
        reason = unusable(address, f"{probe}.{id(probe):x}")
    except UserError as error:
        reason = str(error)
    return {"unwritable": reason, "sees_probe": reason is None and read(f"{address}/{probe}") is not None}


def read(address: str) -> bytes | None:
    """An object's content; None where there is none."""
    files, path = filesystem(address)
    try:
        content: bytes = files.cat_file(path)
    except FileNotFoundError:
        return None
    return content


def read_all(address: str, pattern: str) -> dict[str, bytes]:
    """Every object whose name under an address fits a pattern, by that name."""
    files, root = filesystem(address)
    paths = files.glob(f"{root}/{pattern}")
    contents = files.cat(paths, on_error="omit") if paths else {}
    return {path.removeprefix(f"{root}/"): content for path, content in sorted(contents.items())}


def write(address: str, content: bytes) -> None:
    """Put an object; it replaces what was there."""
    files, path = filesystem(address)
    files.pipe_file(path, content)


def write_new(address: str, content: bytes) -> bool:
    """Put an object where there is none; False, and nothing is changed, where there is one."""
    files, path = filesystem(address)
    try:
        files.pipe_file(path, content, mode="create")
    except FileExistsError:
        return False
    return True


def listed(address: str) -> dict[str, Stored]:
    """All objects under an address, by their names under it."""
    files, root = filesystem(address)
    infos = files.find(root, detail=True)
    return {
        path.removeprefix(f"{root}/"): Stored(int(info["size"] or 0), _changed_at(info)) for path, info in infos.items()
    }


def remove(address: str, names: Iterable[str]) -> None:
    """Remove objects under an address; one that is not there is passed over."""
    files, root = filesystem(address)
    for name in names:
        try:
            files.rm_file(f"{root}/{name}")
        except FileNotFoundError:
            continue


def put_folder(folder: Path, address: str, leave_out: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Put every file of a folder under an address; return what to expect of them when they are fetched."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if name not in leave_out]
    files, root = filesystem(address)
    if names:
        files.put([str(folder / name) for name in names], [f"{root}/{name}" for name in names])
    return digests(folder, names)


def fetch_folder(address: str, expected: Digests, folder: Path) -> None:
    """Fetch files from under an address.

    Raises:
        Damaged: what came is not what was put.
    """
    files, root = filesystem(address)
    for name in expected:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if expected:
        files.get([f"{root}/{name}" for name in expected], [str(folder / name) for name in expected])
    verify_files(folder, expected)


def _changed_at(info: dict[str, Any]) -> float:
    """When an object was written; backends call it differently."""
    for key in ("LastModified", "mtime", "updated", "last_modified", "created"):
        if (value := info.get(key)) is not None:
            if isinstance(value, int | float):
                return float(value)
            return (value if isinstance(value, datetime) else datetime.fromisoformat(str(value))).timestamp()
    raise RuntimeError(f"{info.get('name')}: its backend reports no modification time (only {', '.join(sorted(info))})")
