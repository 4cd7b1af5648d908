"""Kills processes of a run at random moments, starts the run again, and looks at what is left.

"$(python3 actors/environments.py path develop)" tests/faults/kill.py --kills 40 --seed 1

Every run is on fake engines, with real Ray, real actors, real records and a real MLflow server. Beside processes,
an engine call can end in an exception, the store's disk be full (it is a small file system of its own: root only),
and the MLflow server be gone; the last two are mended before the run is started again, as a user would, until it
ends. Then the decision must be that of an undisturbed run, no more steps redone than were under way, and no process,
no RUNNING run in MLflow and no partial checkpoint left.
"""

import argparse
import collections
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent))

from flow_on_fakes import Flow, free_port

VICTIMS = {
    "driver": "slow_fakes.py",
    "trial": "ray::ResourceTrainable",  # as Tune calls the class of a trial that is at work
    "quantizer": "ray::Quantizer",
    "evaluator": "ray::Evaluator",
    "benchmarker": "ray::Benchmarker",
    "server": "ray::Server",
    "coordinator": "ray::Coordinator",
    "engine": "time.sleep(600)",
    "raylet": "raylet/raylet",
}
"""What is killed, by a part of its command line."""
FAULTS = (*VICTIMS, "exception", "disk", "mlflow")
_ENDS_ALL = ("driver", "raylet", "disk")
"""What may end all steps that are under way."""
_SEATS = 2
"""Steps that are under way at the same time on the made-up machine."""
_CALLS_OF_A_STEP = 2
"""At the most: a benchmark loads the variant and the baseline."""
_DISK = "640m"
"""Size of the store's file system: a plan wants half a gigabyte free, of which these fakes take 3 MB."""


@dataclass
class Endured:
    """One experiment, what was killed while it was run, and what came of it."""

    kills: list[str]
    starts: int
    code: int
    same_decision: bool
    calls_redone: int
    """Engine calls beyond those that the records are of."""
    left: list[str]

    @property
    def good(self) -> bool:
        all_at_once = sum(fault in _ENDS_ALL for fault in self.kills)
        allowed = _CALLS_OF_A_STEP * (len(self.kills) + all_at_once * (_SEATS - 1))
        return self.code == 0 and self.same_decision and not self.left and self.calls_redone <= allowed


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills-a-run", type=int, default=8)
    parser.add_argument("--pause", type=float, default=8.0, help="seconds between two kills, on average")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long every engine call takes")
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=list(FAULTS))
    options = parser.parse_args()
    draw = random.Random(options.seed)
    counts: collections.Counter[str] = collections.Counter()
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        with Shaken(Path(scratch) / "undisturbed", options.seconds) as undisturbed:
            length = undisturbed.finish()
            expected = undisturbed.decision
        print(f"undisturbed: {length:.0f} s, {expected['sentence']}", flush=True)
        while counts.total() < options.kills:
            with Shaken(Path(scratch) / str(counts.total()), options.seconds) as flow:
                found = endure(flow, options, draw, expected)
                counts.update(found.kills)
                bad += not found.good
                print(f"{counts.total():4d} {'good' if found.good else 'BAD'} {found}", flush=True)
                if not found.good:
                    print((flow.folder / "out").read_text()[-6000:], flush=True)
    print(f"{counts.total()} kills, {bad} runs with something wrong: {dict(counts)}")
    return int(bad > 0)


class Shaken(Flow):
    """A flow with a disk and an MLflow server of its own inside the block."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.port = free_port()
        self.tracking = f"http://127.0.0.1:{self.port}"
        super().__init__(folder, seconds, store=folder / "disk/store", tracking=self.tracking)
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Shaken":
        (self.folder / "disk").mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(self.folder / "disk")]
        subprocess.run(mount, check=True)
        try:
            self.mend()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            _end(self._server)
        subprocess.run(["umount", "--lazy", str(self.folder / "disk")], check=True)

    def mend(self) -> None:
        """Free the disk, and start the MLflow server where there is none."""
        (self.folder / "disk/filler").unlink(missing_ok=True)
        (self.folder / "raise").unlink(missing_ok=True)
        if self._server is None:
            database = f"sqlite:///{self.folder / 'mlflow.db'}"
            command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--workers", "1"]
            command += ["--host", "127.0.0.1", "--port", str(self.port), "--artifacts-destination"]
            out = (self.folder / "mlflow.out").open("ab")
            command.append(str(self.folder / "artifacts"))
            lean = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # else seven more processes
            self._server = subprocess.Popen(command, env=lean, stdout=out, stderr=out, start_new_session=True)
            _await_answer(f"{self.tracking}/health")

    def make(self, fault: str) -> bool:
        """Bring about a fault that is no killed process; False where it is there already."""
        if fault == "exception":
            (self.folder / "raise").touch()
        elif fault == "disk":
            if (self.folder / "disk/filler").exists():
                return False
            with contextlib.suppress(OSError), (self.folder / "disk/filler").open("wb", buffering=0) as filler:
                while filler.write(bytes(1 << 16)):
                    pass
        elif self._server is None:
            return False
        else:
            _end(self._server)
            self._server = None
        return True


def endure(flow: Shaken, options: argparse.Namespace, draw: random.Random, expected: dict[str, Any]) -> Endured:
    """Run an experiment until it ends well, and bring about a fault now and then."""
    kills: list[str] = []
    starts, code = 0, 1
    while code != 0 and starts <= 2 * options.kills_a_run:
        starts += 1
        flow.mend()
        run = flow.start()
        while run.poll() is None and len(kills) < options.kills_a_run:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(draw.uniform(0.3, 1.7) * options.pause)
            fault = draw.choice(options.faults)
            if run.poll() is None and (_kill(fault, run) if fault in VICTIMS else flow.make(fault)):
                kills.append(fault)
        code = run.wait(600)
    flow.mend()
    return Endured(kills, starts, code, flow.decision == expected, flow.begun - flow.recorded, _left(flow))


def _kill(victim: str, run: subprocess.Popen[bytes]) -> bool:
    """Kill one process of the run that looks like the victim, as soon as there is one; False where there is none
    before the run has ended."""
    while run.poll() is None:
        family = [psutil.Process(run.pid), *_family(run.pid)]
        if found := [process for process in family if VICTIMS[victim] in _words(process)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                found[0].send_signal(signal.SIGKILL)
                return True
        time.sleep(0.05)
    return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """Kill a server and the workers that it started."""
    for process in [*_family(server.pid), psutil.Process(server.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    server.wait()


def _await_answer(url: str) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"{url} does not answer")


def _family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def _words(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _left(flow: Shaken) -> list[str]:
    """What nobody should find after a run: processes of it, runs under way, folders without a record."""
    deadline = time.monotonic() + 30
    while (processes := _processes_of(flow)) and time.monotonic() < deadline:
        time.sleep(0.5)
    import mlflow

    mlflow.set_tracking_uri(flow.tracking)
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
            inherited = process.environ().get("MSF_FAULTS_FOLDER") == str(flow.folder)
            if inherited and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {_words(process)[:60]}")
    return found


if __name__ == "__main__":
    sys.exit(main())
