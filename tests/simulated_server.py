"""Requests of a load on a server whose truth is known, as rows that a load generator would have written."""

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np


def arrivals(rate: float, begin: float, end: float, random: np.random.Generator | None = None) -> np.ndarray:
    """When requests are due: evenly spaced, or a Poisson process where `random` is given."""
    count = int((end - begin) * rate)
    gaps = np.full(count, 1 / rate) if random is None else random.exponential(1 / rate, 2 * count + 20)
    due = begin + np.cumsum(gaps) - gaps[0]
    return np.asarray(due[due < end])


def rows(
    due: np.ndarray, service_s: float | Sequence[float], *, room: int | None = None, cut_s: float = np.inf
) -> list[dict[str, Any]]:
    """What is seen of a server with room for some requests at once, first come, first served.

    Args:
        service_s: seconds of a request once there is room for it; its first token comes after a tenth of them.
        room: None for a server with room for all.
        cut_s: when those that have not ended are cut off.
    """
    took = np.broadcast_to(np.asarray(service_s, dtype=float), due.shape)
    free: list[float] = [-np.inf] * (room or 0)
    found = []
    for moment, seconds in zip(due, took, strict=True):
        begin = max(float(moment), heapq.heappop(free)) if room else float(moment)
        if room:
            heapq.heappush(free, begin + seconds)
        found.append(_row(float(moment), begin + seconds / 10, begin + seconds, cut_s))
    return [row for row in found if row["due_s"] < cut_s]


def _row(due: float, first: float, last: float, cut_s: float) -> dict[str, Any]:
    whole = last <= cut_s
    return {
        "status": "completed" if whole else "unfinished",
        "due_s": due,
        "sent_s": due,
        "first_token_s": first if first <= cut_s else None,
        "last_token_s": last if whole else None,
        "ended_s": min(last, cut_s),
        "prompt_tokens": 8,
        "output_tokens": 100 if whole else None,
    }
