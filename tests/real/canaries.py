"""Secrets that are planted in the environment of a run, and where they are found again.

Every one is a word of its own, so that whatever leaks says which it was. A user's name is none: MLflow shows it as
that of a run's author.
"""

import contextlib
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from actors import openai_client

PLANTED = {
    "HF_TOKEN": "hf_CANARY01",
    "HF_ENDPOINT": "https://user:CANARY02@hub.invalid",
    "http_proxy": "http://user:CANARY03@127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "CANARY04",
    "AWS_SECRET_ACCESS_KEY": "CANARY05",
    "AWS_SESSION_TOKEN": "CANARY06",
    "MLFLOW_TRACKING_TOKEN": "CANARY07",
    "MLFLOW_TRACKING_PASSWORD": "CANARY08",
    "RAY_AUTH_TOKEN": "CANARY09",
    "VLLM_API_KEY": "sk-CANARY10",
    "OPENAI_API_KEY": "sk-CANARY11",
    "GITHUB_TOKEN": "ghp_CANARY12",
    "DATABASE_PASSWORD": "CANARY13",
}
NOT_USED = {"no_proxy": "*"}
"""Beside them, so that nobody is asked by the planted proxy."""
FOR_FETCHING = {"HF_TOKEN", "HF_ENDPOINT", "http_proxy"}
"""What Ray's processes may have: they fetch models and data sets."""
_LARGEST = 64 << 20
"""Bytes of a file that is read; weights and Ray's object store are larger."""
_POLL_S = 1.0


@dataclass
class Watched:
    """What was seen of a run from outside."""

    out: str = ""
    own: set[str] = field(default_factory=set)
    """Secrets that the run made up: its Ray's token and its engines' key."""
    processes: set[tuple[int, float]] = field(default_factory=set)
    engines: set[tuple[int, float]] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    """Command lines."""
    inherited: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Command lines of the processes below the run that had a planted variable in their environment, by its name."""
    at_engines: set[str] = field(default_factory=set)
    """Planted variables that an engine had."""
    answered: dict[str, int] = field(default_factory=dict)
    """What an engine answered to a question without a key, by its address."""
    of_ray: list[Path] = field(default_factory=list)
    """Files of Ray's that a secret was in while it ran."""

    def look(self, driver: psutil.Process, temporary: Path) -> None:
        """At every process below a run; when the first engine is there, at the files of its Ray, too."""
        for process in driver.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                identity, line, has = (process.pid, process.create_time()), process.cmdline(), process.environ()
                if line == driver.cmdline():
                    continue  # it is about to become another program, with another environment
                self.told.add("\0".join(line))
                is_engine = "vllm.entrypoints.cli.main" in line
                self.own |= {has[name] for name in ("RAY_AUTH_TOKEN",) if name in has}
                if is_engine and "VLLM_API_KEY" in has:
                    self.own.add(has["VLLM_API_KEY"])
                    if not self.engines:
                        self.of_ray = holders([temporary], [*PLANTED.values(), *self.own])
                    self.engines.add(identity)
                    self._ask(f"http://127.0.0.1:{line[line.index('--port') + 1]}")
                planted = {name for name, value in PLANTED.items() if word(value) in "\0".join(has.values())}
                self.at_engines |= planted if is_engine else set()
                for name in planted:
                    self.inherited[name].add(" ".join(line)[:200])
                self.processes.add(identity)

    def _ask(self, engine: str) -> None:
        """Once it is up."""
        if engine not in self.answered:
            with contextlib.suppress(OSError):
                self.answered[engine] = openai_client.get(f"{engine}/metrics", patience_s=10)[0]


def word(value: str) -> str:
    """What is looked for of a planted value."""
    return value[value.index("CANARY") :][:8] if "CANARY" in value else value


def holders(folders: Iterable[Path], values: Sequence[str]) -> list[Path]:
    """Files under some folders that hold one of some values."""
    words = [word(value).encode() for value in values]
    found = []
    for file in (file for folder in folders for file in folder.rglob("*")):
        with contextlib.suppress(OSError):
            if file.is_file() and not file.is_symlink() and file.stat().st_size <= _LARGEST:
                content = file.read_bytes()
                if any(one in content for one in words):
                    found.append(file)
    return found


@contextlib.contextmanager
def watching(driver: "subprocess.Popen[str]", temporary: Path) -> Iterator[Watched]:
    """Look again and again at a run, for the length of the block.

    Args:
        temporary: the folder that its temporary files are in.
    """
    found, over = Watched(), threading.Event()

    def watch() -> None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(driver.pid)
            while not over.wait(_POLL_S):
                found.look(process, temporary)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()
