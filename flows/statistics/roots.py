"""Where a statement stops being true, by bisection, for many numbers at once. Pure functions."""

from collections.abc import Callable

import numpy as np

_HALVINGS = 50
"""A span of 1 is known to 1e-15 then."""


def last_true(
    holds: Callable[[np.ndarray], np.ndarray], true: np.ndarray, false: np.ndarray, halvings: int = _HALVINGS
) -> np.ndarray:
    """The last number, on the way from `true` to `false`, at which `holds` is true.

    Args:
        holds: true up to some number between the two, and false from there on; called for all of them at once.
    """
    true, false = (np.array(side, dtype=float) for side in np.broadcast_arrays(true, false))
    for _ in range(halvings):
        middle = (true + false) / 2
        kept = holds(middle)
        true, false = np.where(kept, middle, true), np.where(kept, false, middle)
    return true
