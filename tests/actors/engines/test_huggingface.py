"""The reference that a served model is compared with, by the real transformers."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from actors import environments
from configs.base import REPOSITORY


def test_reference_is_greedy_by_log_probability_whatever_penalty_the_model_asks_for(tmp_path: Path) -> None:
    """Qwen2.5-Instruct has a repetition penalty of 1.1: with it the reference left the best token by 2.6 nats."""
    paths = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests")))
    script = str(REPOSITORY / "tests/fakes/greedy_reference.py")
    done = subprocess.run(
        [str(environments.interpreter("inference", "cpu")), script, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["lost"] == pytest.approx([0.0] * 4, abs=1e-4)
    assert found["penalty"] == 1.5, "the checkpoint keeps what it says"
