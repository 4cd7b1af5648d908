"""Files of registered versions that a server of MLflow's has: fetched once into the store's folder on this machine, and
listed for `clean` when no experiment needs them any more."""

import re
import shutil
import tempfile
import time
from collections.abc import Set
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.artifacts import Checkpoint
from configs.storage import Storage
from flows.store.clean import Leftover
from flows.store.folder import extent
from flows.store.records import Store
from flows.store.writers import GIVEN_UP_AFTER_S

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

FOUND = "registered.json"
"""The file of an experiment's folder with what its URIs were found to be."""
_FOLDER = "registered"


def fetched(storage: Storage, version: "ModelVersion") -> Path:
    """The folder with a version's files, fetched at the first call, whole or not at all."""
    import mlflow

    readable = re.sub(r"[^\w.-]", "-", version.name)
    folder = storage.local / _FOLDER / f"{readable}-{version.version}-{version.creation_timestamp}"
    if folder.is_dir():
        folder.touch()  # whoever cleans up now sees that it is in use
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        name = f"models:/{version.name}/{version.version}"
        Path(mlflow.artifacts.download_artifacts(artifact_uri=name, dst_path=str(whole))).rename(folder)
    return folder


def unneeded(storage: Storage, store: Store, planned: Set[str]) -> list[Leftover]:
    """Fetched folders that were not used for a day, and that no experiment has found and no record that is referred to
    or `planned` is about.

    Raises:
        UserError: what an experiment has found cannot be read, so nothing may count as unneeded.
    """
    if not (storage.local / _FOLDER).is_dir():
        return []
    needed, leftovers = _needed(store, planned), []
    for folder in sorted((storage.local / _FOLDER).iterdir()):
        size, linked, changed_at = extent(folder)
        if folder.resolve() in needed or time.time() - changed_at < GIVEN_UP_AFTER_S:
            continue
        reason = (
            "fetched from MLflow in part"
            if folder.name.startswith(".")
            else "fetched from MLflow, and no experiment needs it"
        )
        remove = partial(_removed, folder, store, planned)
        name = f"{_FOLDER}/{folder.name}" if isinstance(storage.root, Path) else str(folder)
        leftovers.append(Leftover(name, size, linked, changed_at, reason, remove))
    return leftovers


def _removed(folder: Path, store: Store, planned: Set[str]) -> bool:
    if folder.resolve() in _needed(store, planned):
        return False
    shutil.rmtree(folder)
    return True


def _needed(store: Store, planned: Set[str]) -> set[Path]:
    referred = store.referred() | planned
    results = [record.result for record in store.all() if record.fingerprint in referred]
    of_records = {result.folder for result in results if isinstance(result, Checkpoint) and result.folder}
    found = store.named_by_all(FOUND, _folders, "not what was found in MLflow; run the experiment again")
    return {Path(folder).resolve() for folder in of_records | found}


def _folders(found: Any) -> list[Any]:
    return [one["folder"] for one in found.values()]
