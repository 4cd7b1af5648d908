"""An ingress and its revisions as processes that outlive the actor which starts them, and a file for each.

A revision is as faulty as the file `fault` in the store says when it is started (see `openai_server`).
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray

from actors.artifacts import EngineSpec
from actors.placement import processes
from actors.placement.processes import LEASE_MARK
from actors.serving import mark_of

_SERVER = Path(__file__).parents[1] / "front_server.py"


def folder() -> Path:
    """Of this cluster: a file for each application."""
    found = Path(tempfile.gettempdir()) / f"fake-ingresses-{ray.get_runtime_context().get_node_id()}"
    found.mkdir(exist_ok=True)
    return found


def offer(
    ingress: str,
    revision: str,
    spec: EngineSpec,
    *,
    route: str,
    mark: str,
    bind: tuple[str, int],
    **_: Any,
) -> None:
    fault = Path(spec.checkpoint).parents[3] / "fault"
    if not (folder() / ingress).is_file():
        _write(ingress, {"live": None, "url": f"http://{bind[0]}:{bind[1]}{route}"})
        _start([sys.executable, str(_SERVER), str(folder()), ingress, route, spec.model, str(bind[1])], mark)
        _await(*bind)
    _write(f"{ingress}:{revision}", {"fault": fault.read_text() if fault.is_file() else ""})
    _start([sys.executable, "-S", "-c", "'import time; time.sleep(600)'"], spec.lease)


def direct(ingress: str, revision: str | None, **_: Any) -> None:
    _write(ingress, {**json.loads((folder() / ingress).read_text()), "live": revision})


def url(ingress: str) -> str | None:
    """Where an ingress answers; None where there is none of that name."""
    file = folder() / ingress
    found: str | None = json.loads(file.read_text()).get("url") if file.is_file() else None
    return found


def live(ingress: str) -> str | None:
    file = folder() / ingress
    found: str | None = json.loads(file.read_text())["live"] if file.is_file() else None
    return found


def drain(ingress: str, revision: str, within_s: float) -> int:
    return 0


def remove(name: str) -> None:
    """End an application that has a file, with its processes."""
    file = folder() / name
    if file.is_file():
        file.unlink()
        processes.end(mark_of(name), patience_s=0)


def check_started(name: str) -> None:
    """As `wait` does, of an application that has a file."""
    file = folder() / name
    if file.is_file() and json.loads(file.read_text()).get("fault") == "unstartable":
        raise RuntimeError(f"the server of {name} did not start: ValueError: no kernel")


def _start(command: list[str], mark: str) -> None:
    """By a shell that ends at once, in a session of its own: Ray ends an actor's children, and its process group."""
    shell = ["/bin/sh", "-c", f"{' '.join(command)} >/dev/null 2>&1 &"]
    subprocess.run(shell, env={**os.environ, LEASE_MARK: mark}, start_new_session=True)


def _await(host: str, port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the fake ingress does not answer")


def _write(name: str, content: dict[str, Any]) -> None:
    draft = folder().parent / f"{folder().name}.draft"
    draft.write_text(json.dumps(content))
    draft.rename(folder() / name)
