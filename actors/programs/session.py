"""A command in a session of its own, which does not outlive whoever started it.

An engine is several processes, and who started them may be killed without a word: by the kernel, with Ray's own
processes, by an impatient user. So a keeper stands above the command. It holds one end of a pipe whose other end only
the starter has; when the kernel closes that, because the starter is gone, the keeper ends its whole session, and with
it the memory of a GPU that nobody would give back otherwise. The keeper is no child of the starter's: a worker that Ray
kills takes its children along (`kill_child_processes_on_worker_exit`), and on an H100 an engine that was starting
outlived its keeper so. Between the two is a process that only waits. Standard library only: this file is also their
program, which needs 8 MB and none of the imports of the command.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

KEPT_MARK = "MSF_KEPT"
"""In the environment of a command and of all below it: that their session is theirs alone."""
_GRACE_S = 4.0
"""What a session gets to end by itself when its starter is gone: vLLM unlinks its shared memory in less than one."""
_POLL_S = 0.05
_ENDING = {signal.SIGTERM}


class Session:
    """A command that runs under a keeper, for as long as this object's process lives."""

    def __init__(
        self, command: Sequence[str], *, variables: Mapping[str, str], folder: Path, log: IO[bytes] | IO[str]
    ) -> None:
        """Start it.

        Args:
            variables: the whole environment of the command.
            folder: where it runs.
            log: takes what it says.
        """
        watched, self._held = os.pipe()
        try:
            self._waiting = subprocess.Popen(
                [sys.executable, "-S", "-E", __file__, str(watched), *command],
                env={**variables, KEPT_MARK: "1"},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[watched],
            )
        except OSError:
            os.close(self._held)
            raise
        finally:
            os.close(watched)

    @property
    def status(self) -> int | None:
        """The command's exit status, 128 and more for a signal; None while it runs."""
        return self._waiting.poll()

    def end(self) -> None:
        """Ask the command to end, and wait until nothing of its session is left."""
        self._waiting.terminate()
        self._waiting.wait()


def wait(watched: int, command: Sequence[str]) -> int:
    """Start the keeper, pass on to it that it shall end, and return its status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    if (keeper := os.fork()) == 0:
        os._exit(keep(watched, command))
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(keeper, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    os.close(watched)
    return _status(os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1]))


def keep(watched: int, command: Sequence[str]) -> int:
    """The keeper's life: run a command, end its session when the starter is gone, or what is left of it when the
    command is; return the command's status. It leads no session, and the process that waits for it does no more than
    that: whoever kills that one leaves the keeper."""
    os.set_inheritable(watched, False)
    early: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: early.append(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    child = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
    for number in early:
        child.send_signal(number)
    threading.Thread(target=_watch, args=(watched, child), daemon=True).start()
    status = child.wait()
    _end_session(0)
    return _status(status)


def _status(code: int) -> int:
    """As a shell has it: 128 and more for a signal."""
    return 128 - code if code < 0 else code


def _watch(watched: int, child: "subprocess.Popen[bytes]") -> None:
    os.read(watched, 1)
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    _end_session(_GRACE_S)


def _end_session(grace_s: float) -> None:
    """Wait for the others of this session, then kill them."""
    deadline = time.monotonic() + grace_s
    while (others := _others()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    for process in others:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _others() -> list[int]:
    """Ids of the processes of this session; this one, the one that waits for it and zombies left out."""
    others, ours = [], (os.getpid(), os.getsid(0))
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            state, _, _, session, *_ = Path(f"/proc/{name}/stat").read_text().rpartition(") ")[2].split()
            if int(session) == os.getsid(0) and int(name) not in ours and state != "Z":
                others.append(int(name))
    return others


if __name__ == "__main__":
    sys.exit(wait(int(sys.argv[1]), sys.argv[2:]))
