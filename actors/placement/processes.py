"""Every process of a lease, or of a run, by the mark that it inherits.

A lease puts MSF_LEASE=ID into the environment of its actor; whatever the actor starts, however deep
(Serve replicas, engine cores, workers), inherits it. So the kernel's own table answers which
processes belong to a lease, how much memory they use and whether any is left. A run that starts a Ray of its own
puts MSF_RUN=ID into that Ray's environment, so that the same holds of all below it. A process that gives itself
a title writes it over its environment, as the kernel shows it, and with it may go the mark (vLLM's engine
does so): hence whoever is in the session of a marked leader counts too, and whoever is with a marked process in the
session of a command under a keeper, which may have lost its leader. Standard library only: these functions run on any
node in any environment.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path

from actors.programs.session import KEPT_MARK

LEASE_MARK = "MSF_LEASE"
RUN_MARK = "MSF_RUN"
# The kernel frees gigabytes of a killed engine, and its parent may first have to be scheduled.
DYING_S = 30.0


def of_lease(lease: str) -> list[int]:
    """Process ids of a lease on this node, itself and zombies left out."""
    return _of(f"{LEASE_MARK}={lease}")


def of_run(run: str, sessions: Collection[int] = ()) -> list[int]:
    """Process ids of a run's own Ray and of all below it, itself and zombies left out.

    Args:
        sessions: ids of those that are the run's whoever leads them: of their members a raylet's agents show no mark.
    """
    return _of(f"{RUN_MARK}={run}", sessions)


def _of(mark: str, owned: Collection[int] = ()) -> list[int]:
    led = set(owned)
    marked, sessions, kept = [], {}, f"{KEPT_MARK}=1".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or (process := int(entry.name)) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            variables = (entry / "environ").read_bytes().split(b"\0")
            sessions[process] = os.getsid(process)
            if mark.encode() in variables:
                marked.append(process)
                if process == sessions[process] or kept in variables:
                    led.add(sessions[process])
    joined = (process for process, session in sessions.items() if session in led and alive(process))
    return sorted({*marked, *joined} - {os.getpid()})


def end(lease: str, patience_s: float = 10.0) -> list[int]:
    """Wait `patience_s` for a lease's processes to end, then kill what is left; return the ids killed.

    Raises:
        RuntimeError: a process survives SIGKILL.
    """
    return _end(lambda: of_lease(lease), patience_s)


def end_run(run: str, sessions: Collection[int], patience_s: float) -> list[int]:
    """The same for the processes of a run (`of_run`)."""
    return _end(lambda: of_run(run, sessions), patience_s)


def _end(members: Callable[[], list[int]], patience_s: float) -> list[int]:
    known: set[int] = set()

    def left() -> list[int]:
        """Those who belong to it and are alive, and those who did when their session's leader still was."""
        known.update(members())
        known.difference_update([process for process in known if not alive(process)])
        return sorted(known)

    deadline = time.monotonic() + patience_s
    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    killed: set[int] = set()
    deadline = time.monotonic() + DYING_S
    while (survivors := left()) and time.monotonic() < deadline:
        for process in set(survivors) - killed:  # whoever was started while the others were killed, too
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        killed.update(survivors)
        time.sleep(0.05)
    if survivors:
        raise RuntimeError(f"processes {survivors} survived SIGKILL; their devices cannot be released")
    return sorted(killed)


def alive(process: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def left_over() -> list[int]:
    """Process ids that bear a lease's mark and have no Ray above them: whoever held that lease is dead."""
    mark = f"{LEASE_MARK}=".encode()
    orphans = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            marked = entry.name.isdigit() and b"\0" + mark in b"\0" + (entry / "environ").read_bytes()
            if marked and "raylet" not in ancestors(int(entry.name)):
                orphans.append(int(entry.name))
    return sorted(orphans)


def ancestors(process: int) -> list[str]:
    """Names of the processes above one."""
    names = []
    while process > 1:
        name, _, rest = Path(f"/proc/{process}/stat").read_text().rpartition(") ")
        names.append(name.partition("(")[2])
        process = int(rest.split()[1])
    return names[1:]


def outputs(processes: list[int]) -> list[Path]:
    """The files that processes write their standard output and error to, each once."""
    files = set()
    for process in processes:
        for stream in ("1", "2"):
            with contextlib.suppress(OSError):
                files.add(Path(f"/proc/{process}/fd/{stream}").readlink())
    return sorted(file for file in files if file.is_file())


def memory_bytes(processes: list[int]) -> int:
    """Proportional set size of processes together: shared pages are counted once over all sharers."""
    total = 0
    for process in processes:
        try:
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def keep_on(lease: str, cores: list[int]) -> None:
    """Move every thread of a lease, the calling process included, onto `cores`."""
    for thread in _threads([os.getpid(), *of_lease(lease)]):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(thread, cores)


def keep_off(lease: str, cores: list[int]) -> None:
    """Move every thread of a lease that is not bound to `cores` alone to the other cores.

    vLLM binds its compute threads; the HTTP server and the scheduler around them would otherwise
    take turns with them on the same core. Does nothing where there is no other core.
    """
    for thread in _threads(of_lease(lease)):
        with contextlib.suppress(OSError):
            allowed = os.sched_getaffinity(thread)
            others = allowed - set(cores)
            if others and others != allowed:
                os.sched_setaffinity(thread, others)


def _threads(processes: list[int]) -> list[int]:
    """Thread ids of processes, those that ended meanwhile left out."""
    threads = []
    for process in processes:
        with contextlib.suppress(OSError):
            threads += [int(name) for name in os.listdir(f"/proc/{process}/task")]
    return threads
