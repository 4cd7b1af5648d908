"""How the real tests start the flow, and read what it wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests_support import free_port

from configs.base import REPOSITORY


def run_flow(experiment: str, *arguments: str, store: Path) -> subprocess.CompletedProcess[str]:
    """`flows run` on a port of its own, so that nothing else on the machine is in the way."""
    return flows("run", experiment, "--set", f"serving.port={free_port()}", *arguments, store=store)


def flows(*arguments: str, store: Path) -> subprocess.CompletedProcess[str]:
    """One command of the project."""
    environment = {**on_real_engines(), "MSF_STORE": str(store)}
    command = [sys.executable, "-m", "flows", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)


def on_real_engines() -> dict[str, str]:
    """The environment of a process that finds no fake engine, whatever ran in this one before."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def records(store: Path) -> dict[str, Any]:
    return {
        f"{r['kind']}/{r['variant']}": r
        for r in (json.loads(p.read_text()) for p in (store / "records").glob("*/*/record.json"))
    }
