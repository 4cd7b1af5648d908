"""Ends what a run has left running, as soon as its driver is dead, however it died.

A process that waits for the end of what the driver writes to it. It is in a session of its own, so that a signal to
the driver's group does not reach it, and bears no mark. Standard library only.
"""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from actors import processes


@contextlib.contextmanager
def watching_over(run: str) -> Iterator[Callable[[int], None]]:
    """Inside the block a process waits for the death of the calling one, to end then all that bears a run's mark.

    Yields:
        What tells it the id of a session that is the run's, too: whoever in it shows no mark is ended as well.
    """
    reaper = subprocess.Popen(
        [sys.executable, "-S", "-m", "actors.reaper", run],
        cwd=Path(__file__).resolve().parents[1],
        env={},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    assert reaper.stdin is not None
    try:
        yield lambda session: _tell(reaper.stdin, session)
    finally:
        reaper.kill()
        reaper.wait()
        with contextlib.suppress(OSError):
            reaper.stdin.close()


def _tell(reaper: IO[str] | None, session: int) -> None:
    with contextlib.suppress(OSError):  # somebody killed it; the driver itself still ends all that it can
        print(session, file=reaper, flush=True)


def main(run: str) -> None:
    """Wait for the driver's end, then end the run's processes at once. Whoever is told to stop with the driver waits
    for it all the same."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sessions = [int(line) for line in sys.stdin]
    processes.end_run(run, sessions, patience_s=0)


if __name__ == "__main__":
    main(sys.argv[1])
