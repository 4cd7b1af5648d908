"""The actor that pulls a checkpoint onto a node, and keeps it there while others on that node use it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from actors.files.checkpoint_cache import Cache, Held, Pullable
from actors.placement.lease import Needs, lease


class CheckpointHolder:
    """It runs in the driver's environment. Dead, it holds nothing any more: the kernel has its lock."""

    def __init__(self) -> None:
        self._held: Held | None = None

    def hold(self, cache: Cache, wanted: Pullable) -> str:
        """The folder that has the files now, and will until `release`."""
        self._held = cache.hold(wanted)
        return str(self._held.folder)

    def release(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None


@contextlib.contextmanager
def held_on(node: str, cache: Cache, wanted: Pullable) -> Iterator[Path]:
    """The files of an object store on a node, for the length of the block.

    Raises:
        ray.exceptions.RayTaskError: they could not be pulled.
    """
    with lease(CheckpointHolder, Needs(), node=node) as holder:
        ref: Any = holder.hold.remote(cache, wanted)
        yield Path(ray.get(ref))
        ray.get(holder.release.remote())
