"""What a task imports when it is loaded, without loading it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors import environments
from flows.planning import stock_tasks, task_packages


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages of an environment that has one, and lm-eval's tasks."""
    folder = tmp_path / "lib/python3.11/site-packages"
    for package in ("there", "lm_eval/tasks/other"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
    (folder / "lm_eval/tasks/other/utils.py").write_text("import lost_by_way_of_another\n")
    monkeypatch.setattr(environments, "environment", lambda *_: SimpleNamespace(folder=tmp_path))
    return folder


@pytest.mark.parametrize(
    ("python", "lost"),
    [
        ("import json, there\nfrom there.deep import it", []),
        ("import lost.deep", ["lost"]),
        ("from lost import it", ["lost"]),
        ("try:\n    import lost\nexcept ImportError:\n    lost = None", []),
        ("try:\n    import lost\nexcept ImportError:\n    raise ImportError('install it')", ["lost"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lost", []),
        ("def when_called():\n    import lost", []),
        ("from lm_eval.tasks.other import utils", ["lost_by_way_of_another"]),
        ("import beside", ["lost_beside"]),
        ("from . import whatever", []),
    ],
)
def test_package_is_lacking_where_loading_would_fail(site: Path, tmp_path: Path, python: str, lost: list[str]) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "shared_yaml").write_text("doc_to_text: !function utils.text\n")
    (folder / "task.yaml").write_text("include: shared_yaml\ntask: t\n")
    (folder / "utils.py").write_text(python)
    (folder / "beside.py").write_text("import lost_beside")
    assert task_packages.lacking([folder / "task.yaml"], "cpu") == lost


def test_nothing_is_said_of_an_environment_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "environment", lambda *_: SimpleNamespace(folder=tmp_path))
    assert task_packages.lacking([tmp_path / "task.yaml"], "cpu") == []


@pytest.mark.parametrize(
    ("task", "lost"), [("leaderboard_math_hard", ["math_verify"]), ("leaderboard_ifeval", []), ("mmlu", [])]
)
def test_stock_task_is_told_of_by_what_it_lacks(task: str, lost: list[Any]) -> None:
    if not next(environments.environment("inference", "cpu").folder.glob("lib/python*/site-packages"), None):
        pytest.skip("the inference environment is not built")
    assert task_packages.lacking(stock_tasks.files(task, "cpu"), "cpu") == lost
