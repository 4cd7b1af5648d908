"""One experiment on fake engines that take their time, in a folder of its own: what is killed and what is timed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests_support import free_port

REPOSITORY = Path(__file__).resolve().parents[2]


class Flow:
    """A run of one experiment as a user starts it, as often as wanted."""

    def __init__(self, folder: Path, seconds: float, *, store: Path | None = None, tracking: str | None = None) -> None:
        """Write the experiment.

        Args:
            seconds: how long every engine call takes.
            tracking: address of an MLflow server; None for a file in the store.
        """
        folder.mkdir()
        self.folder, self.store, self.file = folder, store or folder / "store", folder / "faults.yaml"
        self.file.write_text(yaml.safe_dump(_experiment(self.store, tracking)))
        path = f"{REPOSITORY / 'tests/fakes'}:{REPOSITORY}"
        taking = {
            "MSF_FAKE_SECONDS": str(seconds),
            "MSF_FAKE_CALLS": str(folder / "calls"),
            "MSF_FAULTS_FOLDER": str(folder),
        }
        self.environment = {**os.environ, **taking, "PYTHONPATH": path}

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(REPOSITORY / "tests/faults/slow_fakes.py"), "run", str(self.file)]

    def start(self) -> subprocess.Popen[bytes]:
        out = (self.folder / "out").open("ab")
        return subprocess.Popen(self.command, cwd=REPOSITORY, env=self.environment, stdout=out, stderr=out)

    def finish(self, within_s: float = 600) -> float:
        """Seconds of a run to its end."""
        started = time.monotonic()
        if (code := self.start().wait(within_s)) != 0:
            raise RuntimeError(f"exit code {code}: {(self.folder / 'out').read_text()[-3000:]}")
        return time.monotonic() - started

    @property
    def decision(self) -> dict[str, Any]:
        """Without what differs from run to run: the times of a stop."""
        file = self.store / "experiments/faults/decision.json"
        found = json.loads(file.read_text()) if file.is_file() else {}
        return {key: found.get(key) for key in ("answer", "recommended", "sentence", "reasons")}

    @property
    def begun(self) -> int:
        """Engine calls that stand for a step; every fake engine writes one line for each."""
        file = self.folder / "calls"
        return len(file.read_text().splitlines()) if file.is_file() else 0

    @property
    def recorded(self) -> int:
        """Engine calls that the records are of: two for a benchmark, of the variant and the baseline in turn with
        it."""
        kinds = [path.parent.parent.name for path in self.store.glob("records/*/*/record.json")]
        return len(kinds) + kinds.count("benchmark")


def _experiment(store: Path, tracking: str | None) -> dict[str, Any]:
    return {
        "name": "faults",
        "model": {"kind": "wheel", "package": "fake==1"},
        "schemes": [{"kind": "fp8-dynamic", "name": "one"}, {"kind": "fp8-dynamic", "name": "two", "ignore": ["x"]}],
        "accuracy": {"tasks": ["everyday_science"]},
        "load": {"kind": "concurrent", "streams": [1], "prompt_tokens": 8, "output_tokens": 8, "duration_s": 1},
        "decision": {"constraints": {"max_accuracy_drop": 0.1}},
        "storage": {"root": str(store)},
        "tracking": {"uri": tracking},
        "serving": {"port": free_port()},
    }
