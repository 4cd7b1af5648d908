"""How near some processes, with all below them, come to what they can do. Standard library only.

The load generator is one process that hands out requests, several that send them and read the answers (children of a
fork server), and one that makes prompts ahead, whose pace is nobody's limit while there are some. Python runs one
thread of a process at a time: one that computes all the time can do no more, and times what it reads late. So can one
that waits for a core which others have. The kernel counts both, the second for the first thread of a process alone,
which is where the load generator's event loops run.
"""

import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from actors.programs.looking import looking

_EVERY_S = 0.25
"""Between two looks at the kernel's table of processes; one costs 2 ms of a core where 100 processes run."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class _Used:
    """Of one process so far."""

    computing_s: float
    waiting_s: float
    """For a core, ready to compute."""
    reads_the_clock: bool = True
    """Whether a request's times are taken in it, or pass through it."""


@dataclass
class CpuTime:
    """What was seen of the processes of one block."""

    cores: int
    """That they may use."""
    looks: list[tuple[float, dict[int, _Used]]] = field(default_factory=list)
    """When (seconds since 1970), and every process until then, by its id."""

    def share(self, start: float, end: float) -> float | None:
        """How near to their limit the processes came in a span of time, 1 for all that can be had: the busiest of those
        that read the clock, which computed or waited for a core, or all together, which computed on their cores,
        whichever is more. None where the span was too short for two looks.

        Args:
            start, end: seconds since 1970.
        """
        inside = [look for look in self.looks if start <= look[0] <= end]
        if len(inside) < 2:
            return None
        (began, before), (ended, after) = inside[0], inside[-1]
        both = [(before[process], used) for process, used in after.items() if process in before]
        computing = [now.computing_s - then.computing_s for then, now in both]
        waiting = [now.waiting_s - then.waiting_s for then, now in both]
        busy = [sum(both) for both in zip(computing, waiting, strict=True)]
        busiest = max((one for one, (_, now) in zip(busy, both, strict=True) if now.reads_the_clock), default=0.0)
        return max(busiest, sum(computing) / self.cores) / (ended - began)


@contextmanager
def watched(roots: Collection[int] | None = None, cores: int | None = None) -> Iterator[CpuTime]:
    """Look four times a second, from a thread of its own, while the block lasts.

    Args:
        roots: process ids, with all below them; this process by default.
        cores: that they may use; as many as this process by default.
    """
    cpu_time = CpuTime(cores or len(os.sched_getaffinity(0)))

    def look() -> None:
        cpu_time.looks.append((time.time(), _used(roots or {os.getpid()})))

    with looking(look, _EVERY_S):
        yield cpu_time


def _used(roots: Collection[int]) -> dict[int, _Used]:
    """What processes and all below them used so far, by process id."""
    parents, computing = {}, {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(") ")[2].split()
            parents[int(name)] = int(fields[1])
            computing[int(name)] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    below = {root for root in roots if root in parents}
    while more := {process for process, parent in parents.items() if parent in below} - below:
        below |= more
    return {
        process: _Used(computing[process], _waited_s(process), process in roots or _of_a_fork_server(process))
        for process in below
    }


def _of_a_fork_server(process: int) -> bool:
    """Whether a process is Python's fork server, or was forked from it and has its command line."""
    try:
        return b"multiprocessing.forkserver" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def _waited_s(process: int) -> float:
    """Seconds that a process's first thread waited for a core; 0 where the kernel does not count them."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
