"""Whether a server falls behind a rate of requests: by how much longer each waits than the one before. Pure functions.

Where more comes than a server can do, every request waits longer than the one before it, by the share of what comes
that cannot be done: at 10 % too much, a request that is due a second later waits 0.1 s longer. Requests under
way say the same, but only once the pipe is full: they also grow where a server with room for all is just
filling. Latencies of a server with room for all do not grow, however long they are.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

_PARTS = 6
"""Of a window. Latencies of requests near each other say nearly the same: what is independent is how they change from
one part of the window to the next."""
_FEWEST_PARTS, _FEWEST = 5, 15
"""Parts with a request, and requests, below which nothing is said."""
_CONFIDENCE = 0.95
MOST_BEHIND = 0.02
"""Share of what comes by which a server may fall behind: less than a window can tell from what it was just doing."""


@dataclass(frozen=True)
class Overload:
    """By which share more comes than is done."""

    share: float
    """Of the rate of the load, whatever came by chance."""
    low: float
    """Lower bound of its two-sided 95 % interval."""
    growth: float
    """The slope of latency over the moment that a request was due, in seconds a second: by which share more came."""

    @property
    def shown(self) -> bool:
        """Whether the rate is shown to be too high, and requests waited longer and longer indeed."""
        return self.low > 0 and self.growth > MOST_BEHIND


def overload(due_s: np.ndarray, ended_s: np.ndarray, sizes: np.ndarray, rate: float | None = None) -> Overload | None:
    """How much more comes than is done; None from too few requests.

    Poisson arrivals alone make a queue go up and down, and hide what the server can do. So the share is taken of the
    moments at which the requests would have been due one after the other at the rate: where a server is at its limit,
    these moments and its answers know nothing of that chance. The error is that of the changes from part to part of the
    window, as of a random walk with drift; a straight line through the requests would look far too certain.

    Args:
        due_s: when each request was due, in rising order.
        ended_s: when it was answered, by the same clock; NaN if it never was.
        sizes: of each request what makes it long (tokens), one column for each; NaN where unknown.
        rate: requests per second of the load; None to go by when requests were due.
    """
    answered = ~np.isnan(ended_s)
    if answered.sum() < _FEWEST:
        return None
    paced_s = due_s if rate is None else np.arange(len(due_s)) / rate
    due_s, ended_s, paced_s = due_s[answered], ended_s[answered], paced_s[answered]
    done_s = ended_s - _by_size(due_s, ended_s - due_s, sizes[answered])
    span = due_s[-1] - due_s[0]
    part = np.minimum((_PARTS * (due_s - due_s[0]) / span).astype(int), _PARTS - 1) if span else np.zeros(len(due_s))
    filled = [index for index in range(_PARTS) if (part == index).any()]
    if len(filled) < _FEWEST_PARTS:
        return None
    due, paced, done = (
        np.array([moments[part == index].mean() for index in filled]) for moments in (due_s, paced_s, done_s)
    )
    changes = np.diff(done - paced) / np.diff(paced)
    error = float(changes.std(ddof=1)) / np.sqrt(len(changes))
    share = float(np.polyfit(paced, done - paced, 1)[0])
    low = share - float(student.ppf(0.5 + _CONFIDENCE / 2, len(changes) - 1)) * error
    return Overload(share, float(low), float(np.polyfit(due, done - due, 1)[0]))


def _by_size(due_s: np.ndarray, latency_s: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """What of each latency is explained by how long the request is (least squares beside a trend)."""
    known = ~np.isnan(sizes)
    means = np.nansum(sizes, axis=0) / np.maximum(known.sum(axis=0), 1)
    centred = np.nan_to_num(sizes - means)
    if not centred.any():
        return np.zeros(len(due_s))
    columns = np.column_stack([np.ones(len(due_s)), due_s, centred])
    fitted = np.linalg.lstsq(columns, latency_s, rcond=None)[0]
    return np.asarray(centred @ fitted[2:])
