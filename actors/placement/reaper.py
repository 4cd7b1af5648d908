"""Ends what a run has left running, and puts away its folder, as soon as its driver is dead, however it died.

A process that waits for the end of what the driver writes to it. It is in a session of its own, so that a signal to
the driver's group does not reach it, and bears no mark. Standard library only.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from actors.placement import processes


@contextlib.contextmanager
def watching_over(run: str, folder: Path, logs: Path | None) -> Iterator[Callable[[int], None]]:
    """Inside the block a process waits for the death of the calling one, to end then all that bears a run's mark.

    Args:
        folder: of the run's Ray, with `logs` as of `put_away`.

    Yields:
        What tells it the id of a session that is the run's, too: whoever in it shows no mark is ended as well.
    """
    reaper = subprocess.Popen(
        [sys.executable, "-S", "-m", "actors.placement.reaper", run, str(folder), *([str(logs)] if logs else [])],
        cwd=Path(__file__).resolve().parents[2],
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


def put_away(folder: Path, logs: Path | None) -> None:
    """Remove the folder of a run's Ray; its logs stay.

    Args:
        logs: where they stay, instead of what is there; None to remove them, too.
    """
    session = next((path for path in folder.glob("ray/session_*") if not path.is_symlink()), None)
    if logs is not None and session is not None and (session / "logs").is_dir():
        shutil.rmtree(logs, ignore_errors=True)
        with contextlib.suppress(OSError, shutil.Error):  # a full disk: what could be kept is
            shutil.copytree(session / "logs", logs, symlinks=True)
    shutil.rmtree(folder, ignore_errors=True)


def main(run: str, folder: Path, logs: Path | None) -> None:
    """Wait for the driver's end, then end the run's processes at once. A signal to stop, which may come to the driver
    and to this process alike, is ignored."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sessions = [int(line) for line in sys.stdin]
    processes.end_run(run, sessions, patience_s=0)
    put_away(folder, logs)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]) if sys.argv[3:] else None)
