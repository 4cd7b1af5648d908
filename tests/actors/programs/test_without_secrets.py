"""What a process knows that is to run code of a model's, and what comes back from it."""

import os
from pathlib import Path
from typing import Any

import pytest

from actors.programs import without_secrets
from configs.base import REPOSITORY

SECRETS = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("RAY_AUTH_TOKEN", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "VLLM_API_KEY", "OPENAI_API_KEY"),
    *("GITHUB_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS", "KUBECONFIG", "SSH_AUTH_SOCK", "ANYTHING_ELSE"),
)
PROGRAM = """
import os, sys
from pathlib import Path
from actors.programs import without_secrets

def call(what):
    if what == "variables":
        return dict(os.environ)
    if what == "folder":
        return sorted(path.name for path in Path(sys.argv[1]).iterdir())
    if what == "refuse":
        raise ValueError("it cannot be asked")
    if what == "fail":
        raise MemoryError("out of memory")
    os._exit(3)

without_secrets.answer(Path(sys.argv[1]), call)
"""


@pytest.fixture
def asked(tmp_path: Path) -> Any:
    """Asks a program for something."""
    (tmp_path / "program_of_a_test.py").write_text(PROGRAM)
    known = {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}", "PYTHONDONTWRITEBYTECODE": "1"}
    return lambda what: without_secrets.ask("program_of_a_test", {"what": what}, known)


def test_environment_has_no_secret(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("MSF_LEASE", "mark")
    seen = asked("variables")
    assert [name for name, value in seen.items() if "canary" in value] == []
    assert seen["MSF_LEASE"] == "mark", "it ends with the lease"
    assert seen["HOME"] != os.environ.get("HOME") and not Path(seen["HF_TOKEN_PATH"]).exists()
    assert seen["HF_ALLOW_CODE_EVAL"] == "1" and "HF_ALLOW_CODE_EVAL" not in os.environ


def test_settings_are_gone_before_anything_runs(asked: Any) -> None:
    assert asked("folder") == ["home", "log"]


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("refuse", ValueError, "^it cannot be asked$"),
        ("fail", RuntimeError, "^MemoryError: out of memory$"),
        ("end", RuntimeError, "ended with 3 and no result"),
    ],
)
def test_error_comes_back_as_one(asked: Any, what: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        asked(what)


def test_hub_s_cache_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert without_secrets.variables(tmp_path, {})["HF_HOME"] == str(tmp_path / "huggingface")
    assert without_secrets.variables(tmp_path, {"HF_HOME": "/elsewhere"})["HF_HOME"] == "/elsewhere"
