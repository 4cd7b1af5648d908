"""Score intervals of two paired proportions: right and wrong of the same documents, before and after. Pure functions.

A score interval holds the values that a test with the variance under that very value does not reject. So it does not
shrink to nothing where hardly a document differs, and its lower bound, by which a variant passes, errs as rarely as it
says where nothing at all is gained, too (`tests/bench/calibration.py`); Newcombe's (1998, method 10) passed 6 % there
instead of 2.5 %.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from flows.statistics.intervals import Bounds
from flows.statistics.roots import last_true

_TINY = 1e-300
_STEEPEST = 30.0
"""Ratios are looked for between e to the minus this and e to this."""


def tango(
    gained: np.ndarray | float, lost: np.ndarray | float, documents: np.ndarray | float, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the difference of two paired proportions (Tango 1998, Stat. Med. 17:891).

    Args:
        gained: documents that only the second has right; an array for many tables at once. Counts may be fractions,
            for what so many documents would show on average.
        lost: documents that only the first has right.
        documents: all of them.
    """
    z = float(norm.ppf(0.5 + confidence / 2))
    gained, lost = np.asarray(gained, dtype=float), np.asarray(lost, dtype=float)
    documents = np.asarray(documents, dtype=float)
    estimate = (gained - lost) / documents
    high = last_true(lambda d: _tango_score(gained, lost, documents, d) > -z, estimate, np.ones_like(estimate))
    low = last_true(lambda d: _tango_score(lost, gained, documents, -d) > -z, estimate, -np.ones_like(estimate))
    return low, high


def _tango_score(gained: np.ndarray, lost: np.ndarray, documents: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Standard errors between the measured difference and an assumed one."""
    linear = (2 * documents - gained + lost) * difference - gained - lost
    constant = -lost * difference * (1 - difference)
    root = np.sqrt(np.maximum(linear**2 - 8 * documents * constant, 0.0))
    only_first = (root - linear) / (4 * documents)
    variance = documents * (2 * only_first + difference * (1 - difference))
    score: np.ndarray = (gained - lost - documents * difference) / np.sqrt(np.maximum(variance, _TINY))
    return score


def tang(
    both: np.ndarray | float,
    gained: np.ndarray | float,
    lost: np.ndarray | float,
    documents: np.ndarray | float,
    confidence: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the ratio of two paired proportions, second over first (Tang, Tang and Chan 2003, Stat. Med.
    22:1217; the same test: Nam and Blackwelder 2002, Stat. Med. 21:689). The first must have something right.

    Args:
        both: documents that both have right; the rest as of `tango`.
    """
    z = float(norm.ppf(0.5 + confidence / 2))
    table = tuple(np.asarray(counts, dtype=float) for counts in (both, gained, lost, documents))
    estimate = np.log(np.maximum(table[0] + table[1], _TINY) / (table[0] + table[2]))
    estimate = np.clip(estimate, -_STEEPEST, _STEEPEST)
    high = last_true(lambda x: _tang_score(table, np.exp(x)) > -z, estimate, np.full_like(estimate, _STEEPEST))
    low = last_true(lambda x: _tang_score(table, np.exp(x)) < z, estimate, np.full_like(estimate, -_STEEPEST))
    return np.where(table[0] + table[1] > 0, np.exp(low), 0.0), np.exp(high)


def _tang_score(table: tuple[np.ndarray, ...], ratio: np.ndarray) -> np.ndarray:
    """Standard errors between the measured ratio and an assumed one.

    Args:
        table: as the first four of `tang`.
    """
    both, gained, lost, documents = table
    square, some = documents * (1 + ratio), both + gained + lost
    linear = (both + lost) * ratio**2 - (both + gained + 2 * lost)
    constant = lost * (1 - ratio) * some / documents
    only_first = (np.sqrt(np.maximum(linear**2 - 4 * square * constant, 0.0)) - linear) / (2 * square)
    variance = square * only_first + some * (ratio - 1)
    score: np.ndarray = (both + gained - ratio * (both + lost)) / np.sqrt(np.maximum(variance, _TINY))
    return score


@dataclass(frozen=True)
class RightWrong:
    """How many of the same documents base and variant have right, alone and together."""

    both: int
    gained: int
    """Only the variant."""
    lost: int
    """Only the baseline."""
    documents: int

    @classmethod
    def of(cls, base: np.ndarray, variant: np.ndarray) -> "RightWrong":
        """From 0/1 values of the same documents, in the same order."""
        both, right = int((base * variant).sum()), (int(base.sum()), int(variant.sum()))
        return cls(both, right[1] - both, right[0] - both, len(base))

    def differences(self, confidence: float, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interval of variant minus base, if so many times the documents had shown the same."""
        return tango(self.gained * times, self.lost * times, self.documents * times, confidence)

    def ratio(self, confidence: float, *, turned: bool = False) -> Bounds | None:
        """Interval of variant over base, or of base over variant; None where what stands below is 0."""
        gained, lost = (self.lost, self.gained) if turned else (self.gained, self.lost)
        if not self.both + lost:
            return None
        low, high = tang(self.both, gained, lost, self.documents, confidence)
        return float(low), float(high)

    @property
    def error(self) -> float:
        """Standard error of the difference."""
        mean = (self.gained - self.lost) / self.documents
        return float(np.sqrt(max((self.gained + self.lost) / self.documents - mean**2, 0.0) / self.documents))
