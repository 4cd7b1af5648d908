"""What tests share: small experiments on a fake model, and fake engines under the real actors."""

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.store.db.utils
import pytest
import ray
import yaml
from fsspec.registry import known_implementations
from tests_support import BIG_CPU, free_port

from actors import environments
from configs.base import REPOSITORY
from configs.hardware import Hardware
from flows import cluster
from flows.cli import DONE, main

FAKES = REPOSITORY / "tests" / "fakes"


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> Hardware:
    """The same machine for every test, whatever it runs on."""
    monkeypatch.setattr(cluster, "this_machine", lambda _experiment: BIG_CPU)
    return BIG_CPU


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every role's environment is the one that runs the tests."""
    monkeypatch.setattr(environments, "interpreter", lambda role, accelerator=None: Path(sys.executable))


@pytest.fixture
def experiment_file(tmp_path: Path, free_port: int) -> Any:
    """Writes an experiment over a fake model and returns its path; keywords replace sections."""

    def write(**sections: Any) -> Path:
        content = {
            "name": "tiny",
            "model": {"kind": "wheel", "package": "fake==1"},
            "schemes": [{"kind": "fp8-dynamic"}],
            "accuracy": {"tasks": ["everyday_science"]},
            "load": {
                "kind": "concurrent",
                "streams": [1, 2],
                "prompt_tokens": 8,
                "output_tokens": 8,
                "duration_s": 1,
            },
            "decision": {"constraints": {"max_accuracy_drop": 0.1}},
            "storage": {"root": str(tmp_path / "store")},
            "tracking": {"uri": None},
            "serving": {"port": free_port},
            **sections,
        }
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses that begin with objects:// are those of an object store in a folder, here and in Ray's processes."""
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setitem(known_implementations, "objects", {"class": "objects.ObjectFileSystem"})


@pytest.fixture(autouse=True)
def _no_tracking_of_another_test() -> Iterator[None]:
    """MLflow keeps the address that it is told in the environment, which later tests and their processes have, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "")
        patch.delenv("MLFLOW_TRACKING_URI")
        yield


@pytest.fixture(name="free_port")
def _free_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def _one_cluster() -> Iterator[None]:
    """One local Ray for all tests, whose processes find the fake engines before the real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "PYTHONPATH", f"{FAKES}:{REPOSITORY}")
        with cluster.connected("cpu"):
            yield


@pytest.fixture(scope="session")
def _one_migration() -> Iterator[None]:
    """MLflow migrates its first SQLite file, which takes seconds; later ones begin as copies of it."""
    first = sqlite3.connect(":memory:", check_same_thread=False)
    migrate = mlflow.store.db.utils._initialize_tables

    def initialize(engine: Any) -> None:
        with engine.connect() as connection:
            file = connection.connection.driver_connection
            if first.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                first.backup(file)
                return
        migrate(engine)
        with engine.connect() as connection:
            connection.connection.driver_connection.backup(first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow.store.db.utils, "_initialize_tables", initialize)
        yield
    first.close()


@pytest.fixture
def fake_engines(_one_cluster: None, _one_migration: None, hardware: Hardware, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run uses the cluster with the fake engines."""
    monkeypatch.setattr(cluster, "connected", _already_connected)


def _already_connected(_accelerator: str, _logs: Path | None = None, **_: Any) -> Any:
    import contextlib

    return contextlib.nullcontext(Path(ray._private.worker._global_node.get_logs_dir_path()))


@pytest.fixture(scope="session", name="measured")
def _measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records of the first run that a test asked for as `decided`, which the others need not measure again."""
    return tmp_path_factory.mktemp("measured") / "records"


@pytest.fixture
def decided(experiment_file: Any, measured: Path, fake_engines: None) -> Path:
    """An experiment that was run, and recommends fp8-dynamic."""
    path: Path = experiment_file()
    records = path.parent / "store/records"
    if measured.is_dir():
        shutil.copytree(measured, records, symlinks=True)
    assert main(["run", str(path)]) == DONE
    if not measured.is_dir():
        shutil.copytree(records, measured, symlinks=True)
    return path
