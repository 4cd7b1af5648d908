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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent))

from flow_on_fakes import REPOSITORY, Flow

MARK = "FAULTS_FOLDER"
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


class Real(Flow):
    """A run of an experiment on the real engines."""

    def __init__(self, folder: Path, experiment: Path, settings: list[str]) -> None:
        super().__init__(folder, 0)
        self._asked = [str(experiment.resolve()), *(word for one in settings for word in ("--set", one))]
        self.environment = {**os.environ, MARK: str(folder), "MSF_STORE": str(folder / "store")}

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "flows", "run", *self._asked]


def processes_of(folder: Path) -> list[psutil.Process]:
    """Those alive whose environment has the folder as the mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def words(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def seen(flow: Flow, like: tuple[str, ...]) -> bool:
    """Whether a process of the run looks like one of these."""
    return any(part in words(process) for process in processes_of(flow.folder) for part in like)


MOMENTS: dict[str, Callable[[Flow], bool]] = {
    "Ray starts": lambda flow: seen(flow, ("gcs/gcs_server",)),
    "quantizes": lambda flow: seen(flow, ("ray::Quantizer",)),
    "serves": lambda flow: seen(flow, ENGINES),
    "loads": lambda flow: seen(flow, ENGINES) and any(flow.store.glob("records/evaluate/*/record.json")),
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


def gpu_processes() -> set[str] | None:
    """Lines `PID, MiB` of nvidia-smi; None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    asked = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader"]
    return set(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\n")) - {""}


def struck(flow: Flow, case: str, moment: str, delay_s: float, within_s: float) -> Ended:
    """Start a run, send the signals of a case at a moment, and wait until nothing is left."""
    before = gpu_processes()
    out = (flow.folder / "out").open("ab")
    run = subprocess.Popen(
        flow.command, cwd=REPOSITORY, env=flow.environment, stdout=out, stderr=out, start_new_session=True
    )
    while run.poll() is None and not MOMENTS[moment](flow):
        time.sleep(0.1)
    time.sleep(delay_s)
    known = {*processes_of(flow.folder), *psutil.Process(run.pid).children(recursive=True)}
    victim, signals = CASES[case]
    for one in signals:
        if victim == GROUP:
            os.killpg(run.pid, one)
            continue
        everybody = {psutil.Process(run.pid), *known}
        for process in everybody if victim == EVERYBODY else _like(victim, run.pid, everybody):
            with contextlib.suppress(psutil.Error):
                process.send_signal(one)
    return _awaited(flow, run, known, before, within_s)


def _like(victim: str, driver: int, everybody: set[psutil.Process]) -> list[psutil.Process]:
    return [p for p in everybody if (p.pid == driver if victim == DRIVER else victim in words(p))]


def _awaited(
    flow: Flow, run: "subprocess.Popen[bytes]", known: set[psutil.Process], before: set[str] | None, within_s: float
) -> Ended:
    """How long it takes until nothing is left; what is there after all patience is killed."""
    struck_at = time.monotonic()
    driver_s = empty_s = gpu_s = None
    names: list[str] = []
    while (passed := time.monotonic() - struck_at) < _PATIENCE_S:
        known |= set(processes_of(flow.folder))
        left = [process for process in known if _alive(process) and process.pid != run.pid]
        driver_s = passed if driver_s is None and run.poll() is not None else driver_s
        empty_s = (empty_s or passed) if run.poll() is not None and not left else None
        gpu_s = (gpu_s or passed) if before is None or gpu_processes() <= before else None  # type: ignore[operator]
        if driver_s is not None and empty_s is not None and gpu_s is not None:
            break
        if passed > within_s and not names:
            names = [f"{process.pid} {words(process)[:60].strip()}" for process in left]
        time.sleep(0.1)
    for process in [*left, *([psutil.Process(run.pid)] if run.poll() is None else [])]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    run.wait()
    lines = [line for line in (flow.folder / "out").read_text().splitlines() if line.strip()]
    nothing = float("inf")
    return Ended(
        run.returncode if driver_s is not None else None,
        driver_s or nothing,
        empty_s or nothing,
        None if before is None else gpu_s or nothing,
        names,
        lines[-1] if lines else "",
    )


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


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
