"""Sends signals to a run, to all of its process group or to one process of it, and times how long anything is left.

"$(python3 actors/environments.py path develop)" tests/faults/signals.py [--cases CASE ...] [--moments MOMENT ...]

Every run is a session of its own, on fake engines unless --experiment names one for the real ones. Where there is
an nvidia-smi, a case also waits until the GPUs' memory is held by nobody but those who had it before.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent))

from flow_on_fakes import REPOSITORY, Flow

MARK = "MSF_FAULTS_FOLDER"
GROUP, EVERYBODY, DRIVER = "group", "everybody", "driver"
CASES = {
    "TERM group": (GROUP, (signal.SIGTERM,)),
    "TERM group twice": (GROUP, (signal.SIGTERM, signal.SIGTERM)),  # as `timeout` does
    "INT group": (GROUP, (signal.SIGINT,)),
    "HUP group": (GROUP, (signal.SIGHUP,)),
    "TERM driver": (DRIVER, (signal.SIGTERM,)),
    "TERM everybody": (EVERYBODY, (signal.SIGTERM,)),  # as systemd and Slurm do
    "KILL driver": (DRIVER, (signal.SIGKILL,)),
    "KILL raylet": ("raylet/raylet", (signal.SIGKILL,)),
    "TERM raylet": ("raylet/raylet", (signal.SIGTERM,)),
    "KILL GCS": ("gcs/gcs_server", (signal.SIGKILL,)),
}
"""Who gets which signals: the group, the driver and every process below it, the driver, or a process by a part of its
command line."""
ENGINES = ("time.sleep(600)", "VLLM::EngineCore", "vllm.entrypoints", "vllm serve")
"""How the command line of an engine looks, a fake one or vLLM's."""
_PATIENCE_S = 120.0
"""After which what is left is killed by this program."""
_SETTLED_S = 10.0
"""For which nothing may come back."""
_IDLE_MIB = 512
"""Of a GPU's memory that come and go without an engine."""


class Real(Flow):
    """A run of an experiment on the real engines."""

    def __init__(self, folder: Path, experiment: Path, settings: list[str]) -> None:
        super().__init__(folder, 0)
        self._asked = [str(experiment.resolve()), *(word for one in settings for word in ("--set", one))]
        self.environment = {**os.environ, MARK: str(folder), "MSF_STORE": str(folder / "store")}

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "flows", "run", *self._asked]


class Watched:
    """A run under way, and every process that was ever seen of it."""

    def __init__(self, flow: Flow) -> None:
        """Start it."""
        self.flow = flow
        with (flow.folder / "out").open("ab") as out:
            self.driver = psutil.Popen(
                flow.command, cwd=REPOSITORY, env=flow.environment, stdout=out, stderr=out, start_new_session=True
            )
        self._known: set[psutil.Process] = set()

    def alive(self) -> list[psutil.Process]:
        """All of the run's but the driver: below it, or with the folder as a mark in their environment. A process that
        gives itself a title loses the mark; it is known from when it was below the driver."""
        with contextlib.suppress(psutil.Error):
            self._known.update(self.driver.children(recursive=True))
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.flow.folder) and process.pid != self.driver.pid:
                    self._known.add(process)
        return [process for process in self._known if _alive(process)]

    def has(self, like: tuple[str, ...]) -> bool:
        """Whether a process of the run looks like one of these."""
        return any(part in words(process) for process in self.alive() for part in like)

    def send(self, victim: str, number: signal.Signals) -> None:
        if victim == GROUP:
            os.killpg(self.driver.pid, number)
            return
        if victim == DRIVER:
            victims = [self.driver]
        elif victim == EVERYBODY:
            victims = [self.driver, *self.alive()]
        else:
            victims = [process for process in self.alive() if victim in words(process)]
        for process in victims:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)

    def kill(self) -> None:
        """End whatever is there, by its id."""
        for process in [self.driver, *self.alive()]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.driver.wait()


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def words(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


MOMENTS: dict[str, Callable[[Watched], bool]] = {
    "Ray starts": lambda run: run.has(("raylet/raylet",)),
    "quantizes": lambda run: run.has(("ray::Quantizer",)),
    "serves": lambda run: run.has(ENGINES),
    "loads": lambda run: run.has(ENGINES) and any(run.flow.store.glob("records/evaluate/*/record.json")),
}
"""When the signal is sent."""


@dataclass(frozen=True)
class Ended:
    """What came of one signal."""

    code: int | None
    driver_s: float
    """Seconds until the driver had ended."""
    empty_s: float
    """Seconds until no process was left."""
    gpu_s: float | None
    """Seconds until the GPUs were as before; None where there are none."""
    left: list[str]
    """Processes that were there after the seconds that are good."""
    said: str
    """The last line of the run's output."""


@dataclass(frozen=True)
class Gpus:
    """Who is on the GPUs, and how many MiB are used of each; nobody and nothing where there are none."""

    processes: frozenset[str]
    used_mib: tuple[int, ...]

    @classmethod
    def now(cls) -> "Gpus":
        apps = _nvidia_smi("--query-compute-apps=pid,used_memory", "--format=csv,noheader")
        used = _nvidia_smi("--query-gpu=memory.used", "--format=csv,noheader,nounits")
        return cls(frozenset(line.split(",")[0] for line in apps), tuple(map(int, used)))

    def as_free_as(self, before: "Gpus") -> bool:
        """Whether nobody new is on them, and no more of their memory is used (in a container processes may not be
        told)."""
        added = (now - then for now, then in zip(self.used_mib, before.used_mib, strict=True))
        return self.processes <= before.processes and all(mib < _IDLE_MIB for mib in added)


def _nvidia_smi(*arguments: str) -> list[str]:
    """Of the GPUs that the run sees."""
    if shutil.which("nvidia-smi") is None:
        return []
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    command = ["nvidia-smi", *([f"--id={seen}"] if seen else []), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def struck(flow: Flow, case: str, moment: str, delay_s: float, within_s: float) -> Ended:
    """Start a run, send the signals of a case at a moment, and wait until nothing is left."""
    before = Gpus.now()
    run = Watched(flow)
    try:
        while run.driver.poll() is None and not MOMENTS[moment](run):
            time.sleep(0.1)
        time.sleep(delay_s)
        victim, signals = CASES[case]
        for number in signals:
            run.send(victim, number)
        return _awaited(run, before, within_s)
    finally:
        run.kill()


def _awaited(run: Watched, before: Gpus, within_s: float) -> Ended:
    """How long it takes until nothing is left, in _PATIENCE_S at most."""
    looks = {
        "driver": lambda: run.driver.poll() is not None,
        "empty": lambda: run.driver.poll() is not None and not run.alive(),
        "GPU": lambda: Gpus.now().as_free_as(before),
    }
    since, seconds, left = time.monotonic(), dict.fromkeys(looks, float("inf")), list[str]()
    while time.monotonic() - since < _PATIENCE_S and not _settled(seconds.values(), since):
        for what, is_so in looks.items():
            if not is_so():
                seconds[what] = float("inf")
            elif seconds[what] == float("inf"):
                seconds[what] = time.monotonic() - since
        if time.monotonic() - since > within_s and not left:
            left = [f"{process.pid} {words(process)[:60].strip()}" for process in run.alive()]
        time.sleep(0.1)
    lines = [line for line in (run.flow.folder / "out").read_text().splitlines() if line.strip()]
    gpu_s = seconds["GPU"] if before.used_mib else None
    return Ended(run.driver.poll(), seconds["driver"], seconds["empty"], gpu_s, left, lines[-1] if lines else "")


def _settled(seconds: Iterable[float], since: float) -> bool:
    """Whether nothing has been left for a while: an engine that lost its keeper takes a GPU's memory only then."""
    return time.monotonic() - since > max(seconds) + _SETTLED_S


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--moments", nargs="*", choices=MOMENTS, default=["serves"])
    parser.add_argument("--delay", type=float, default=0.5, help="seconds after the moment is seen")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long every call of a fake engine takes")
    parser.add_argument("--experiment", type=Path, help="run this one on the real engines")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as the flow's own")
    parser.add_argument("--within", type=float, default=10.0, help="seconds that are good")
    parser.add_argument("--verbose", action="store_true", help="show what each run said at last")
    options = parser.parse_args()
    # A shell's background job ignores SIGINT, and so would the run.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    late = 0
    header = f"{'case':<18}{'moment':<12}{'driver, s':>10}{'empty, s':>10}{'GPU, s':>8}{'code':>6}  left; last line"
    print(header, flush=True)
    for case in options.cases:
        for moment in options.moments:
            with tempfile.TemporaryDirectory(prefix="msf", ignore_cleanup_errors=True) as scratch:
                folder = Path(scratch) / "flow"
                real = options.experiment
                flow = Real(folder, real, options.set) if real else Flow(folder, options.seconds)
                found = struck(flow, case, moment, options.delay, options.within)
                gpu = "-" if found.gpu_s is None else f"{found.gpu_s:.1f}"
                figures = f"{found.driver_s:>10.1f}{found.empty_s:>10.1f}{gpu:>8}{found.code!s:>6}"
                print(f"{case:<18}{moment:<12}{figures}  {json.dumps(found.left)}; {found.said[:150]}", flush=True)
                if options.verbose:
                    print((folder / "out").read_text()[-3000:], flush=True)
                late += max(found.empty_s, found.gpu_s or 0) > options.within or found.code in (None, 0)
    return int(late > 0)


if __name__ == "__main__":
    sys.exit(main())
