"""Submits the flow as a Ray job to a cluster of two nodes on this machine, stops it, and lets it go on.

"$(python3 actors/environments.py path develop)" tests/faults/job.py [--real]

The head gives out nothing and a second node does the work, as in cluster.yaml; both on addresses of loopback,
with ports, token and temporary folder of their own. The engines are fakes; with --real the job is
configs/experiments/smoke.yaml on the real ones.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests_support import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
HEAD, WORKER = "127.0.0.3", "127.0.0.2"  # Ray takes 127.0.0.1 for "any", and puts the outer address in its place


class TwoNodes:
    """A head and a worker node, up for the length of the `with` block."""

    def __init__(self, folder: Path, cores: int, **variables: str) -> None:
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        self.folder, self.cores = folder, cores
        self.port, self.jobs_port = free_port(), free_port()
        self.address, self.jobs = f"{HEAD}:{self.port}", f"http://{HEAD}:{self.jobs_port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_worker_niceness": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "MSF_CLUSTER_MARK": str(folder),
            **variables,
        }

    def __enter__(self) -> "TwoNodes":
        try:
            told = f"--port={self.port} --dashboard-host={HEAD} --dashboard-port={self.jobs_port}"
            agent = f"--dashboard-agent-listen-port={free_port()}"
            self._start("--head", f"--node-ip-address={HEAD}", "--num-cpus=0", *told.split(), agent)
            self.join(WORKER)
        except BaseException:
            self.__exit__()
            raise
        return self

    def join(self, address: str) -> None:
        """One more worker node, at an address of loopback."""
        agent = f"--dashboard-agent-listen-port={free_port()}"
        self._start(f"--address={self.address}", f"--node-ip-address={address}", f"--num-cpus={self.cores}", agent)

    def _start(self, *arguments: str) -> None:
        place = f"--temp-dir={self.folder / 'ray'}" if "--head" in arguments else "--num-gpus=0"
        command = [RAY, "start", *arguments, place, "--object-store-memory=100000000"]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout[-1000:]} {done.stderr[-1000:]}")

    def __exit__(self, *_: object) -> None:
        """End whatever inherited the mark, by its id."""
        mine = self.processes()
        for process in mine:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(mine, timeout=30)

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("MSF_CLUSTER_MARK") == str(self.folder):
                    found.append(process)
        return found

    def job(self, *arguments: str, token: bool = True) -> subprocess.CompletedProcess[str]:
        """One call of `ray job`."""
        environment = {**self.environment, "RAY_ADDRESS": self.jobs}
        if not token:
            environment["RAY_AUTH_TOKEN_PATH"] = str(self.folder / "none")
        command = [RAY, "job", *arguments]
        return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=500)

    def submit(self, name: str, *entrypoint: str, wait: bool = True) -> subprocess.CompletedProcess[str]:
        flags = [] if wait else ["--no-wait"]
        return self.job("submit", "--working-dir", ".", "--submission-id", name, *flags, "--", *entrypoint)


@contextlib.contextmanager
def two_nodes(cores: int, **variables: str) -> Iterator[TwoNodes]:
    # A short path: Ray's sockets lie in it, and a socket's path has 107 bytes.
    scratch = tempfile.TemporaryDirectory(prefix="msf", ignore_cleanup_errors=True)
    with scratch as folder, TwoNodes(Path(folder), cores, **variables) as cluster:
        yield cluster


def experiment(folder: Path) -> Path:
    """A small experiment for the fake engines, whose store lies in a folder."""
    content: dict[str, Any] = {
        "name": "job",
        "model": {"kind": "wheel", "package": "fake==1"},
        "schemes": [{"kind": "int8-w8a8", "algorithm": "rtn", "smoothquant": None}],
        "accuracy": {"tasks": ["everyday_science"]},
        "load": {"kind": "concurrent", "streams": [1], "prompt_tokens": 8, "output_tokens": 8, "duration_s": 1},
        "decision": {"constraints": {"max_accuracy_drop": 0.1}},
        "storage": {"root": str(folder / "store")},
        "tracking": {"uri": None},
        "serving": {"port": free_port()},
    }
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def stopped_and_resumed(cluster: TwoNodes, folder: Path) -> dict[str, Any]:
    """What comes of a run on fake engines that is stopped once its first record is there."""
    file, store = experiment(folder), folder / "store"
    entrypoint = ["python", "tests/faults/slow_fakes.py", "run", str(file)]
    refused = cluster.job("list", token=False)
    started = cluster.submit("first", *entrypoint, wait=False)
    if started.returncode:
        raise RuntimeError(f"no job was submitted: {started.stdout[-2000:]} {started.stderr[-2000:]}")
    deadline = time.monotonic() + 120
    while not list(store.glob("records/*/*/record.json")) and time.monotonic() < deadline:
        time.sleep(0.2)
    stopped = cluster.job("stop", "first").stdout
    kept = {path: path.stat().st_mtime_ns for path in store.glob("records/*/*/record.json")}
    resumed = cluster.submit("second", *entrypoint)
    decision = store / "experiments/job/decision.json"
    examined = cluster.submit("doctor", "python", "-m", "flows", "doctor", str(file)).stdout
    return {
        "without a token": refused.returncode,
        "stopped": "stopped" in (stopped + cluster.job("status", "first").stdout).lower(),
        "first logs": cluster.job("logs", "first").stdout[-2000:],
        "kept": len(kept),
        "redone": sum(path.stat().st_mtime_ns != at for path, at in kept.items()),
        "resumed": resumed.returncode,
        "logs": cluster.job("logs", "second").stdout[-3000:],
        "records": len(list(store.glob("records/*/*/record.json"))),
        "doctor": examined[examined.find("cluster at") :],
        "decision": json.loads(decision.read_text())["sentence"] if decision.is_file() else None,
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", action="store_true", help="smoke.yaml on the real engines")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as scratch:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        variables = {} if options.real else {"PATH": path, "MSF_FAKE_SECONDS": "1"}
        with two_nodes(cores, MSF_STORE=f"{scratch}/store", **variables) as cluster:
            if options.real:
                command = ["python", "-m", "flows", "run", "configs/experiments/smoke.yaml"]
                done = cluster.submit("smoke", *command, "--set", f"serving.port={free_port()}")
                print(done.stdout, done.stderr)
                return done.returncode
            found = stopped_and_resumed(cluster, Path(scratch))
    for name, value in found.items():
        print(f"{name:<16} {value}")
    good = found["stopped"] and found["resumed"] == 0 and not found["redone"] and found["without a token"]
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
