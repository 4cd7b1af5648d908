"""How a run is stopped from outside: what its signals do, and what ends it where it cannot end itself."""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from rich.console import Console

INTERRUPTED = 130
STOPPED = "stopped; finished work is kept: run the same command again to resume"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C; a job's stop, or a machine that goes down; a terminal that is closed."""
_SAME_S = 1.0
"""Within which a second signal repeats the first: `timeout` sends its own to the command, then to the
group."""
GRACE_S = 8.0
"""In which an interrupted run gives everything back in order; then it is ended as it is."""
_POLL_S = 0.1
_BEHIND_S = 0.5
"""By which a signal to everybody may come later to one process than to another."""


def interrupt_on_signals() -> None:
    """Let every signal that asks for an end do what Ctrl-C does, unless it is ignored (`nohup`, a shell's background
    job). Ray's own handlers would print a stack and abort, or leave without giving anything back."""
    if threading.current_thread() is not threading.main_thread():
        return
    interrupt = _interrupt()
    for each in _SIGNALS:
        if signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, interrupt)


def _interrupt() -> Callable[[int, FrameType | None], None]:
    last = float("-inf")

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > _SAME_S:
            raise KeyboardInterrupt

    return interrupt


@contextlib.contextmanager
def bounded(lost: Callable[[], str | None], end: Callable[[], None]) -> Iterator[None]:
    """A block that ends when it should, be its thread stuck in a call that no signal reaches: GRACE_S after the first
    signal, or as soon as what it cannot do without is lost.

    Args:
        lost: what of that is gone, in one line; None while it is all there.
        end: ends what the process started; the process leaves after it, without any clean-up of its own.
    """
    ours, theirs = socket.socketpair()
    over = threading.Event()
    with ours, theirs, _signals_written_to(theirs):
        watch = threading.Thread(target=_watch, args=(ours, over, lost, end), daemon=True)
        watch.start()
        try:
            yield
        finally:
            over.set()
            watch.join()


@contextlib.contextmanager
def _signals_written_to(wakeup: socket.socket) -> Iterator[None]:
    """The number of every signal is written there at once, while Python's handler waits for its thread."""
    wakeup.setblocking(False)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)


def _watch(
    wakeup: socket.socket, over: threading.Event, lost: Callable[[], str | None], end: Callable[[], None]
) -> None:
    deadline = float("inf")
    while not over.is_set():
        if _stop_signalled(wakeup, _POLL_S):
            deadline = min(deadline, time.monotonic() + GRACE_S)
        what = lost()
        if what and not over.is_set() and deadline == float("inf") and not _stop_signalled(wakeup, _BEHIND_S):
            _leave(1, f"error: {what}", end)
        if what or time.monotonic() > deadline:
            _leave(INTERRUPTED, STOPPED, end)


def _stop_signalled(wakeup: socket.socket, within_s: float) -> bool:
    if not select.select([wakeup], [], [], within_s)[0]:
        return False
    return bool(set(wakeup.recv(64)) & set(_SIGNALS))


def _leave(code: int, why: str, end: Callable[[], None]) -> None:
    print(why, file=sys.stderr, flush=True)
    with contextlib.suppress(RuntimeError):  # the next start reports whoever outlives SIGKILL
        end()
    Console().show_cursor()
    os._exit(code)
