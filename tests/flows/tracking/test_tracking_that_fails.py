"""MLflow that cannot be opened, or dies of anything, costs nothing but itself."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from refusals import in_time

from configs.base import UserError
from configs.loading import load_experiment
from flows.planning.mlflow_address import CannotBeOpened
from flows.runtime.context import Run
from flows.tracking import client, mirror


@pytest.fixture
def run(experiment_file: Any) -> Run:
    """As much of a run as MLflow's border looks at."""
    lines: list[str] = []
    progress = SimpleNamespace(say=lambda name, text: lines.append(text), lines=lines)
    plan = SimpleNamespace(experiment=load_experiment(experiment_file()))
    return cast(Run, SimpleNamespace(plan=plan, progress=progress, not_tracked=None))


def garbage(file: Path) -> None:
    file.write_bytes(bytes(range(256)) * 40)


def half(file: Path) -> None:
    file.write_bytes(b"SQLite format 3\x00" + b"\xff" * 3000)


@pytest.mark.parametrize("spoil", [garbage, half, Path.mkdir], ids=["garbage", "half", "folder"])
def test_database_that_is_none_is_reported_and_the_block_goes_on(run: Run, spoil: Any) -> None:
    file = run.plan.experiment.storage.local / "mlflow.db"
    file.parent.mkdir(parents=True)
    spoil(file)
    done = []
    with in_time(), mirror.open_run(run):
        done.append("measured")
    assert done == ["measured"]
    assert run.not_tracked is not None
    assert "cannot be opened as a database" in run.not_tracked


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'boto3'"),
        RuntimeError("a\nb"),
        KeyError("x"),
        AttributeError("x"),
        OSError("x"),
        MemoryError("x"),
        CannotBeOpened("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_mlflow_raises_is_reported_in_a_line(run: Run, error: Exception) -> None:
    with client.out_of_reach(client.missed_by(run)):
        raise error
    assert run.not_tracked is not None
    assert run.not_tracked.startswith(type(error).__name__)
    assert "\n" not in run.not_tracked


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UserError("x")], ids=["interrupt", "mistake"])
def test_what_is_not_of_mlflow_passes(run: Run, error: BaseException) -> None:
    with pytest.raises(type(error)), client.out_of_reach(client.missed_by(run)):
        raise error
    assert run.not_tracked is None


@pytest.mark.parametrize("content", ["", "[1]", '{"models": 3}', "{"])
def test_what_was_remembered_and_cannot_be_read_counts_as_nothing(run: Run, content: str) -> None:
    experiment = run.plan.experiment
    file = experiment.storage.local / "experiments/tiny/mlflow.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert client.remembered(experiment) == {}
