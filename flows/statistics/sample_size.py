"""How many documents decide: before measuring, by how many answers may differ, and after, by the measured difference.
Pure functions."""

import math
from typing import Protocol

import numpy as np
from scipy.stats import norm

from flows.statistics.proportions import tango
from flows.statistics.roots import last_true

POWER = 0.8
MOST_DOCUMENTS = 1_000_000
"""Beyond which no number is given: the measured difference lies on the margin."""
_Z = float(norm.ppf(POWER))
_TRIED, _REFINED = 16, 4
"""Numbers of documents tried at once, and how often between the last two."""


class Evidence(Protocol):
    """What documents, or their sources, show of a difference."""

    def differences(self, confidence: float, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Its interval, if so many times the documents had shown the same."""
        ...

    @property
    def error(self) -> float:
        """Its standard error."""
        ...


def times_needed(
    evidence: Evidence, difference: float, margin: float, sign: int, confidence: float, most: float
) -> float | None:
    """How many times the documents settle what is inconclusive, if the measured difference is the true one; None where
    `most` do not.

    The interval is made for so many, not stretched: where hardly an answer differs it shrinks with their number (the
    rule of three), not with its root.

    Args:
        difference: the measured one, turned so that more is better.
        margin: the largest loss.
        sign: 1 where more of the metric is better, -1 where less is.
    """
    few, many = 0.0, math.log(max(most, 1.0))
    for _ in range(_REFINED):
        tried = np.linspace(few, many, _TRIED)
        times = np.exp(tried)
        low, high = evidence.differences(confidence, times)
        slack = _Z * evidence.error / np.sqrt(times)
        low, high = (low, high) if sign > 0 else (-high, -low)
        settled = low - slack >= -margin if difference > -margin else high + slack < -margin
        if not settled[-1]:
            return None
        first = int(np.argmax(settled))
        few, many = tried[max(first - 1, 0)], tried[first]
    return math.exp(many)


def smallest_margin(documents: int, flips: float, confidence: float) -> float:
    """The smallest margin within which so many documents show a variant to be that is as good as the baseline, with a
    power of 0.8.

    Args:
        flips: the share of the answers that differ, as many gained as lost.
    """
    each = flips / 2 * documents
    low, _ = tango(each, each, documents, confidence)
    return float(-low) + _Z * math.sqrt(flips / documents)


def documents_for(margin: float, flips: float, confidence: float) -> int | None:
    """The documents whose smallest margin is this; None where they would be more than anybody has."""
    if smallest_margin(MOST_DOCUMENTS, flips, confidence) > margin:
        return None

    def too_few(logarithm: np.ndarray) -> np.ndarray:
        return np.array(smallest_margin(math.ceil(np.exp(logarithm)), flips, confidence) > margin)

    return math.ceil(float(np.exp(last_true(too_few, np.array(0.0), np.log(MOST_DOCUMENTS), 40)))) + 1
