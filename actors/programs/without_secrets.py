"""A module of this project in a process whose environment has nothing secret: for code that a model wrote.

Such code runs with all that its process can reach. A process that is forked keeps the environment and the memory of
the one before, and one that drops its variables still shows them in /proc. So this starts a new one, in a session of
its own, with an environment that was put together of what may be known, and with a home that is empty. It reads its
settings from a file that only this user can read, and removes it before anything else runs. That keeps secrets out of
reach of code that looks for them where they are; it is no sandbox: files that the user can read, and the network, stay.
Standard library only.
"""

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from actors.programs import vllm_server
from actors.programs.session import Session

_SETTINGS, _ANSWER, _HOME, _LOG = "told.json", "answer.json", "home", "log"
_POLL_S = 0.2


def ask(module: str, settings: Mapping[str, Any], known: Mapping[str, str]) -> Any:
    """What a module answers that is run as a program and calls `answer`.

    Args:
        settings: keywords for it, in values that JSON knows.
        known: variables that its environment has beside an engine's, such as addresses.

    Raises:
        ValueError: it raised one.
        RuntimeError: it raised another error, or ended without an answer.
    """
    with tempfile.TemporaryDirectory(prefix="msf-code-") as name:
        folder = Path(name)
        (folder / _HOME).mkdir()
        (folder / _SETTINGS).write_text(json.dumps(settings))
        log, written = folder / _LOG, folder / _ANSWER
        with log.open("wb") as said:
            command = [sys.executable, "-m", module, str(folder)]
            session = Session(command, variables=variables(folder, known), folder=folder / _HOME, log=said)
            try:
                while session.status is None:
                    time.sleep(_POLL_S)
            finally:
                session.end()  # of one that has ended, nothing is left
        print(log.read_text(errors="replace"), flush=True)  # into the log of the actor
        if not written.is_file():
            raise RuntimeError(f"it ended with {session.status} and no result: {vllm_server.last_error(log)}")
        outcome = json.loads(written.read_text())
    if "error" not in outcome:
        return outcome["answer"]
    kind, message = outcome["error"]
    raise ValueError(message) if kind == ValueError.__name__ else RuntimeError(f"{kind}: {message}")


def variables(folder: Path, known: Mapping[str, str]) -> dict[str, str]:
    """The environment of such a process. The hub's libraries send no token, and find what is in their cache."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return {
        "HF_HOME": str(caches / "huggingface"),
        **vllm_server.inherited(),
        **known,
        "HOME": str(folder / _HOME),
        "HF_TOKEN_PATH": str(folder / _HOME / "no-token"),
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_ALLOW_CODE_EVAL": "1",
    }


def answer(folder: Path, call: Callable[..., Any]) -> None:
    """The process's own side: call a function with its settings, and write its answer or error.

    Args:
        folder: the argument that the program was started with.
    """
    file = folder / _SETTINGS
    settings = json.loads(file.read_text())
    file.unlink()
    try:
        outcome: dict[str, Any] = {"answer": call(**settings)}
    except Exception as error:
        traceback.print_exc()
        outcome = {"error": [type(error).__name__, str(error)]}
    (folder / _ANSWER).write_text(json.dumps(outcome))
