"""Where records and checkpoints live: a folder, or an object store."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator

from configs.base import Settings, SoundPath, UserError, sound_path

GIB = 1 << 30


def _home(variable: str, default: str) -> Path | None:
    """A folder of this user's; None for one without a home, as a container's random user is."""
    if given := os.environ.get(variable):
        return Path(given) / "model-serve-flow"
    home = os.path.expanduser("~")
    return None if home.startswith("~") else Path(home) / default / "model-serve-flow"


def _cache(root: Any) -> Path | None:
    """Without a home, in the store's folder: what is compiled is code, and nobody else can have put it there."""
    if given := os.environ.get("MSF_CACHE"):
        return Path(given)
    return _home("XDG_CACHE_HOME", ".cache") or (root / "cache" if isinstance(root, Path) else None)


class Storage(Settings):
    """Records and checkpoints lie in a folder that every node of the cluster reaches at the same path, or under an
    address that fsspec understands. Credentials do not belong here: each node has them in its own environment.

    It is never inside the working directory of a Ray job, which Ray deletes.
    """

    root: Path | str = Field(
        default_factory=lambda: os.environ.get("MSF_STORE") or _home("XDG_DATA_HOME", ".local/share"),
        validate_default=True,
    )
    """A folder, or an address such as s3://BUCKET/PREFIX."""
    cache: SoundPath = Field(default_factory=lambda given: _cache(given.get("root")), validate_default=True)
    """A local folder of each node, at the same path on all nodes: for code that its engines compile, and for files
    pulled from the store if that has an address."""
    cache_gib: float = Field(default=100, gt=0)
    """GiB of pulled files that a node keeps; more only while more is in use. 100 GiB hold the base and eight variants
    of an 8B model (16 and at most 9 GB each), as a node with eight GPUs uses them."""

    @field_validator("root", mode="before")
    @classmethod
    def _folder_or_address(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("this user has no home folder for records; give a folder, here or in MSF_STORE")
        if isinstance(value, str) and any(ord(character) < 32 for character in value):
            raise ValueError("contains a control character; give a path or an address without one")
        if not isinstance(value, str) or "://" not in value:
            return Path(sound_path(value)) if isinstance(value, str | Path) else value
        protocol, _, path = value.partition("://")
        url = urlsplit(value)
        if "::" in value or url.query or url.fragment or (":" in url.netloc.partition("@")[0] and "@" in value):
            # Not the value itself: it may hold a secret.
            raise ValueError(
                f"the {protocol.split('::')[-1]} address has more than PROTOCOL://BUCKET/PREFIX; credentials and "
                "options do not belong in an address: put them into the environment of every node"
            )
        if protocol == "file":
            if not path.startswith("/"):
                raise ValueError(f"{value!r} is not a folder; give file:///PATH, or the path itself")
            return Path(sound_path(path))
        if protocol == "memory":
            raise ValueError(f"{value!r} exists only in the memory of one process, but a run has many; give a folder")
        if not path.strip("/"):
            raise ValueError(f"{value!r} names no bucket; give PROTOCOL://BUCKET/PREFIX")
        return value.rstrip("/")

    @property
    def local(self) -> Path:
        """What is written on the driver's machine: the store's own folder, or one that stands for it."""
        if isinstance(self.root, Path):
            return self.root
        readable = re.sub(r"[^A-Za-z0-9]+", "-", self.root)[:40].strip("-")
        return self.cache / "stores" / f"{readable}-{hashlib.sha256(self.root.encode()).hexdigest()[:8]}"

    @property
    def compiled(self) -> Path:
        """A node's own, for what its engines compile."""
        return self.cache / "compiled"

    @property
    def experiments(self) -> Path:
        """Where results and logs are written, by experiment; with an address, results are in the store too."""
        return self.local / "experiments"


def storage_at(root: str | None = None) -> Storage:
    """The storage without an experiment file: at a root, or where it is by default.

    Raises:
        UserError: no storage can be there.
    """
    try:
        return Storage.model_validate({} if root is None else {"root": root})
    except ValidationError as error:
        raise UserError(f"storage.root: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
