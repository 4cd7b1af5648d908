"""`python -m flows` in the environment of the driver."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors import environments
from configs.base import REPOSITORY

pytestmark = pytest.mark.fast


def test_environment_that_is_a_link_is_entered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSF_ENVIRONMENTS", str(tmp_path))
    monkeypatch.setenv("MSF_ACCELERATOR", "cpu")
    environments.environment("driver").folder.symlink_to(sys.prefix)  # what this Python has is enough for the help
    command = [sys.executable, "-m", "flows", "--help"]
    told = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("usage: python -m flows")
