"""An object store in a folder: objects are seen whole or not at all, one is put where there is none by asking for
that, nothing is renamed, and no empty folder exists. Several processes see the same."""

import os
import uuid
from pathlib import Path
from typing import Any, ClassVar

from fsspec.implementations.local import LocalFileSystem


class ObjectFileSystem(LocalFileSystem):
    """objects:///FOLDER/PREFIX."""

    protocol: ClassVar[Any] = ("objects",)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("objects://"))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        place = Path(self._strip_protocol(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        written = place.with_name(f".{uuid.uuid4().hex}.tmp")
        written.write_bytes(value)
        try:
            if mode == "create":
                os.link(written, place)
            else:
                os.replace(written, place)
        finally:
            written.unlink(missing_ok=True)

    def put_file(self, lpath: str, rpath: str, *_: Any, **__: Any) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def mv(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("an object store renames nothing")

    mv_file = mv

    def rm_file(self, path: str) -> None:
        place = Path(self._strip_protocol(path))
        place.unlink()
        for parent in place.parents:
            try:
                parent.rmdir()
            except OSError:
                return
