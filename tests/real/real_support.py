"""How the real tests start the flow, and read what it wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import isolated
from tests_support import free_port

from actors import environments
from configs.base import REPOSITORY

MAIN = (sys.executable, "-m", "flows")


def run_flow(
    experiment: str, *arguments: str, store: Path, offline: bool = False, counts: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`flows run` on a port of its own, so that nothing else on the machine is in the way.

    Args:
        counts: run it in a network of its own, and leave there what `isolated.sent` reads.
    """
    asked = ("run", experiment, "--set", f"serving.port={free_port()}", *arguments)
    return flows(*asked, store=store, offline=offline, counts=counts)


def flows(
    *arguments: str, store: Path, offline: bool = False, counts: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """One command of the project."""
    environment = {**on_real_engines(), "MSF_STORE": str(store), **({"HF_HUB_OFFLINE": "1"} if offline else {})}
    command = [*MAIN, *arguments]
    command = isolated.wrapped(command, counts) if counts else command
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)


def on_real_engines() -> dict[str, str]:
    """The environment of a process that finds no fake engine, whatever ran in this one before."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def records(store: Path) -> dict[str, Any]:
    return {
        f"{r['kind']}/{r['variant']}": r
        for r in (json.loads(p.read_text()) for p in (store / "records").glob("*/*/record.json"))
    }


def told_by(role: str, code: str, **variables: str) -> str:
    """What some Python prints in an environment."""
    done = subprocess.run(
        [str(environments.interpreter(role, "cpu")), "-c", code],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
