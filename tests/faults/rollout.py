"""Deploys the base, then INT8, then rolls back, all under a running load, and counts the requests that failed.

"$(python3 actors/environments.py path develop)" tests/faults/rollout.py [--store FOLDER] [--set KEY=VALUE ...]

The real engines on a cluster of its own, started with `ray start` on loopback; the experiment is
configs/experiments/smoke.yaml, which is run first where the store has no records of it. The load is two clients that
stream and two that do not, each with one request at a time and a pause behind it, against the one address: both
generations compute on the same cores here, and what is verified has to show half of its benchmark's throughput beside
the live one. It begins once the base is deployed. The cluster is told of more cores than the machine has, so that two
generations fit beside each other.
"""

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from job import REPOSITORY, TwoNodes
from tests_support import free_port

from actors import openai_client

EXPERIMENT = "configs/experiments/smoke.yaml"
CORES = 8


@dataclass
class Load:
    """Requests one after the other, and what came of each, by the phase that it began in."""

    url: str
    pause_s: float
    phase: str = ""
    ended: dict[str, list[float]] = field(default_factory=dict)
    """When requests ended well, by phase."""
    failed: dict[str, list[str]] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def client(self, *, streams: bool) -> None:
        body = {"model": "smoke", "prompt": "The sea is", "max_tokens": 8, "ignore_eos": True, "temperature": 0}
        while not self.stop.is_set():
            phase = self.phase
            try:
                if streams:
                    events, whole = openai_client.stream(f"{self.url}/v1/completions", body)
                    if not whole or len(events) < 2:
                        raise ValueError(f"a stream of {len(events)} events, {'with' if whole else 'without'} an end")
                else:
                    tokens = openai_client.ask(f"{self.url}/v1/completions", body)["usage"]["completion_tokens"]
                    if tokens != body["max_tokens"]:
                        raise ValueError(f"{tokens} tokens")
                self.ended.setdefault(phase, []).append(time.monotonic())
            except Exception as error:
                self.failed.setdefault(phase, []).append(f"{type(error).__name__}: {error}")
            self.stop.wait(self.pause_s)

    def longest_gap(self, phase: str) -> float:
        """Seconds between two requests that ended one after the other."""
        ends = sorted(self.ended.get(phase, []))
        return max((later - sooner for sooner, later in itertools.pairwise(ends)), default=0.0)


@contextlib.contextmanager
def under_load(url: str, pause_s: float) -> Iterator[Load]:
    """The load, for the length of the block."""
    load = Load(url, pause_s)
    clients = [threading.Thread(target=load.client, kwargs={"streams": place % 2 == 0}) for place in range(4)]
    for client in clients:
        client.start()
    try:
        yield load
    finally:
        load.stop.set()
        for client in clients:
            client.join()


class OneNode(TwoNodes):
    """A head that does all the work."""

    def __enter__(self) -> "OneNode":
        try:
            told = f"--port={self.port} --dashboard-port={self.jobs_port} --node-ip-address=127.0.0.3"
            agent = f"--dashboard-agent-listen-port={free_port()}"
            self._start("--head", f"--num-cpus={self.cores}", *told.split(), agent)
        except BaseException:
            self.__exit__()
            raise
        return self

    def flows(self, *arguments: str) -> str:
        """One command of the project on this cluster; what it said."""
        command = [sys.executable, "-m", "flows", *arguments]
        environment = {**self.environment, "RAY_ADDRESS": self.address}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=1500)
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(arguments)}: {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
            )
        return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, help="with the records of an earlier run; otherwise a temporary folder")
    parser.add_argument("--set", action="append", default=[], help="as the flow's own, for the run and the deployments")
    parser.add_argument("--pause", type=float, default=2.0, metavar="SECONDS", help="of a client between two requests")
    options = parser.parse_args()
    scratch = tempfile.TemporaryDirectory(prefix="msf", ignore_cleanup_errors=True)
    with scratch as folder:
        store = (options.store or Path(folder) / "store").resolve()
        settings = [part for pair in (f"serving.port={free_port()}", *options.set) for part in ("--set", pair)]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with OneNode(Path(folder), CORES, MSF_STORE=str(store), PATH=path) as cluster:
            return rolled_out(cluster, store, settings, options.pause)


def rolled_out(cluster: OneNode, store: Path, settings: list[str], pause_s: float) -> int:
    """Whether everything was deployed and nothing failed, as an exit code."""
    cluster.flows("run", EXPERIMENT, *settings)
    deploy = ("deploy", EXPERIMENT, *settings, "--target", "serve")
    cluster.flows(*deploy, "--variant", "base")
    record = store / "experiments/smoke/deployment.json"
    phases = {
        "base": (),
        "to int8": (*deploy, "--variant", "int8-w8a8"),
        "rollback": (*deploy, "--rollback"),
    }
    seconds, variants = {}, {}
    with under_load(json.loads(record.read_text())["url"], pause_s) as load:
        for phase, command in phases.items():
            load.phase, started = phase, time.monotonic()
            if command:
                cluster.flows(*command)
            time.sleep(10)  # so that every phase has a load behind its end, too
            seconds[phase] = time.monotonic() - started
            variants[phase] = json.loads(record.read_text())["variant"]
    print(f"{'phase':<12}{'then live':<12}{'seconds':>8}{'sent':>7}{'failed':>8}{'longest gap, s':>16}")
    for phase in phases:
        good, bad = len(load.ended.get(phase, [])), load.failed.get(phase, [])
        gap = load.longest_gap(phase)
        print(f"{phase:<12}{variants[phase]:<12}{seconds[phase]:>8.0f}{good + len(bad):>7}{len(bad):>8}{gap:>16.1f}")
        for reason in sorted(set(bad)):
            print(f"  {reason}")
    print(cluster.flows(*deploy, "--delete").strip())
    sent_everywhere = all(load.ended.get(phase) for phase in phases)
    as_asked = list(variants.values()) == ["base", "int8-w8a8", "base"]
    return int(bool(load.failed) or not sent_everywhere or not as_asked)


if __name__ == "__main__":
    sys.exit(main())
