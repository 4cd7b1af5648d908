"""Kills processes of a run at random moments, starts the run again, and looks at what is left.

"$(python3 actors/environments.py path develop)" tests/faults/kill.py --kills 40 --seed 1

Every run is on fake engines, with real Ray, real actors, real records and real MLflow. It is started again, as
a user would, until it ends; then the decision must be that of an undisturbed run, no more steps redone than
were under way, and no process, no RUNNING run in MLflow and no partial checkpoint left.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests_support import free_port

REPOSITORY = Path(__file__).resolve().parents[2]

VICTIMS = {
    "driver": "slow_fakes.py",
    "trial": "VariantTrial",
    "quantizer": "ray::Quantizer",
    "evaluator": "ray::Evaluator",
    "benchmarker": "ray::Benchmarker",
    "server": "ray::Server",
    "conductor": "ray::Conductor",
    "engine": "time.sleep(600)",
    "raylet": "raylet/raylet",
}
"""What is killed, by a part of its command line."""
_SEATS = 2
"""Steps that are under way at the same time on the made-up machine."""
_STARTS = 12
_KILLS_A_RUN = 4


@dataclass
class Endured:
    """One experiment, what was killed while it was run, and what came of it."""

    kills: list[str]
    starts: int
    code: int
    same_decision: bool
    steps_redone: int
    """Engine calls beyond one for each record."""
    left: list[str]

    @property
    def good(self) -> bool:
        all_at_once = sum(victim in ("driver", "raylet") for victim in self.kills)
        allowed = len(self.kills) + all_at_once * (_SEATS - 1)
        return self.code == 0 and self.same_decision and not self.left and self.steps_redone <= allowed


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long every engine call takes")
    parser.add_argument("--victims", nargs="*", choices=VICTIMS, default=list(VICTIMS))
    options = parser.parse_args()
    draw = random.Random(options.seed)
    counts: collections.Counter[str] = collections.Counter()
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        undisturbed = Flow(Path(scratch) / "undisturbed", options.seconds)
        length = undisturbed.finish()
        print(f"undisturbed: {length:.0f} s, {undisturbed.decision['sentence']}", flush=True)
        while counts.total() < options.kills:
            flow = Flow(Path(scratch) / str(counts.total()), options.seconds)
            found = endure(flow, options.victims, draw, length / _KILLS_A_RUN, undisturbed.decision)
            counts.update(found.kills)
            bad += not found.good
            print(f"{counts.total():4d} {'good' if found.good else 'BAD'} {found}", flush=True)
            if not found.good:
                print((flow.folder / "out").read_text()[-4000:], flush=True)
    print(f"{counts.total()} kills, {bad} runs with something wrong: {dict(counts)}")
    return int(bad > 0)


class Flow:
    """One experiment in a folder of its own."""

    def __init__(self, folder: Path, seconds: float) -> None:
        folder.mkdir()
        self.folder, self.store = folder, folder / "store"
        self.file = folder / "faults.yaml"
        self.file.write_text(yaml.safe_dump(_experiment(self.store)))
        path = f"{REPOSITORY / 'tests/fakes'}:{REPOSITORY}"
        taking = {"FAKE_SECONDS": str(seconds), "FAKE_CALLS": str(folder / "calls"), "FAULTS_FOLDER": str(folder)}
        self.environment = {**os.environ, **taking, "PYTHONPATH": path}

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(REPOSITORY / "tests/faults/slow_fakes.py"), "run", str(self.file)]

    def start(self) -> subprocess.Popen[bytes]:
        out = (self.folder / "out").open("ab")
        return subprocess.Popen(self.command, cwd=REPOSITORY, env=self.environment, stdout=out, stderr=out)

    def finish(self) -> float:
        started = time.monotonic()
        if (code := self.start().wait(600)) != 0:
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
    def records(self) -> set[str]:
        return {path.parent.name for path in self.store.glob("records/*/*/record.json")}


def endure(flow: Flow, victims: list[str], draw: random.Random, pause_s: float, expected: dict[str, Any]) -> Endured:
    """Run an experiment until it ends well, and kill something of it now and then."""
    kills: list[str] = []
    starts, code = 0, 1
    while code != 0 and starts < _STARTS:
        starts += 1
        run = flow.start()
        while run.poll() is None and len(kills) < _KILLS_A_RUN:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(draw.uniform(0.3, 1.7) * pause_s)
            if (killed := _kill(draw.choice(victims), run)) is not None:
                kills.append(killed)
        code = run.wait(600)
    return Endured(kills, starts, code, flow.decision == expected, flow.begun - len(flow.records), _left(flow))


def _kill(victim: str, run: subprocess.Popen[bytes]) -> str | None:
    """Kill one process of the run that looks like the victim, as soon as there is one; None where there is none
    before the run has ended."""
    while run.poll() is None:
        family = [psutil.Process(run.pid), *_family(run.pid)]
        if found := [process for process in family if VICTIMS[victim] in _words(process)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                found[0].send_signal(signal.SIGKILL)
                return victim
        time.sleep(0.05)
    return None


def _family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def _words(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _left(flow: Flow) -> list[str]:
    """What nobody should find after a run: processes of it, runs under way, folders without a record."""
    deadline = time.monotonic() + 30
    while (processes := _processes_of(flow)) and time.monotonic() < deadline:
        time.sleep(0.5)
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{flow.store / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("faults")
    running = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'") if experiment else []
    half = [p for p in flow.store.glob("records/*/[!.]*") if not (p / "record.json").is_file()]
    return [*processes, *(f"RUNNING {run.info.run_name}" for run in running), *map(str, half)]


def _processes_of(flow: Flow) -> list[str]:
    """Whatever runs with this flow's folder in its environment or on its command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            inherited = process.environ().get("FAULTS_FOLDER") == str(flow.folder)
            if inherited and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {_words(process)[:60]}")
    return found


def _experiment(store: Path) -> dict[str, Any]:
    return {
        "name": "faults",
        "model": {"kind": "wheel", "package": "fake==1"},
        "schemes": [{"kind": "fp8-dynamic", "name": "one"}, {"kind": "fp8-dynamic", "name": "two", "ignore": ["x"]}],
        "accuracy": {"tasks": ["everyday_science"]},
        "load": {"kind": "concurrent", "streams": [1], "prompt_tokens": 8, "output_tokens": 8, "duration_s": 1},
        "decision": {"constraints": {"max_accuracy_drop": 0.1}},
        "storage": {"root": str(store)},
        "tracking": {"uri": None},
        "serving": {"port": free_port()},
    }


if __name__ == "__main__":
    sys.exit(main())
