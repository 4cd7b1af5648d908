"""A GPU that draws 300 W under load and 100 W without; an engine has it whose experiment is called metered."""

import contextlib
import time
from collections.abc import Iterator, Sequence

from actors.programs import energy

IDLE_W, BUSY_W = 100.0, 300.0
energy._SETTLES_S, energy._IDLE_S = 0.0, 0.1

_state = {"since": time.time(), "joules": 0.0, "watts": IDLE_W}


def energy_j(gpus: Sequence[str]) -> float:
    return len(gpus) * (_state["joules"] + _state["watts"] * (time.time() - _state["since"]))


@contextlib.contextmanager
def under_load() -> Iterator[None]:
    _draw(BUSY_W)
    try:
        yield
    finally:
        _draw(IDLE_W)


def _draw(watts: float) -> None:
    joules = energy_j(("GPU-0",))
    _state.update(since=time.time(), joules=joules, watts=watts)
