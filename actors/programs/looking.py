"""A look at something, again and again, beside the work that it looks at. Standard library only."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def looking(look: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call `look` from a thread of its own while the block lasts, every so many seconds, first after as many."""
    ended = threading.Event()

    def keep_looking() -> None:
        while not ended.wait(every_s):
            look()

    watcher = threading.Thread(target=keep_looking, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
