"""Score intervals of paired proportions: published figures, edges, and their rates by counting every table."""

from collections.abc import Callable
from math import lgamma
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from flows.statistics.proportions import RightWrong, tang, tango

LEVEL = 0.95
ONE = np.ones(1)


def bounds(interval: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    return float(interval[0]), float(interval[1])


def test_intervals_of_published_counts_are_the_published_ones() -> None:
    """Airway reactivity of 21 children before and after a transplantation (Bentur et al. 2009), as in Fagerland,
    Lydersen and Laake (2014, Stat. Med. 33:2850), tables V and VI."""
    assert bounds(tango(1, 7, 21, LEVEL)) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert bounds(tang(1, 1, 7, 21, LEVEL)) == pytest.approx((0.065, 0.907), abs=5e-4)


@pytest.mark.parametrize(("count", "lost", "low", "high"), [(200, 0, -0.0188, 0.0188), (200, 1, -0.0278, 0.0139)])
def test_hardly_a_flip_does_not_shrink_the_interval(count: int, lost: int, low: float, high: float) -> None:
    """Newcombe's passed one of 200 lost at a margin of two points; at a true loss of two points 9 % lose so few."""
    assert bounds(tango(0, lost, count, LEVEL)) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("count", [1, 7, 500])
def test_no_flips_leave_what_a_share_may_be_that_was_never_seen(count: int) -> None:
    z = float(norm.ppf(0.975))
    assert bounds(tango(0, 0, count, LEVEL)) == pytest.approx((-(z**2) / (count + z**2), z**2 / (count + z**2)))


@pytest.mark.parametrize(("gained", "lost"), [(1, 0), (0, 1), (9, 0), (0, 9), (4, 5)])
def test_all_documents_that_flip_stay_within_all_that_can_be(gained: int, lost: int) -> None:
    count = gained + lost
    low, high = bounds(tango(gained, lost, count, LEVEL))
    assert -1 <= low < (gained - lost) / count <= high <= 1 or -1 <= low <= (gained - lost) / count < high <= 1
    mirrored = bounds(tango(lost, gained, count, LEVEL))
    assert mirrored == pytest.approx((-high, -low))


def _likeliest(table: tuple[int, int, int, int], gained_of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Any:
    """Shares of gained and lost that make a table likeliest, of a grid of those of lost and both."""
    both, gained, lost, count = table
    shares = np.linspace(1e-4, 1, 1601)
    lost_share, both_share = np.meshgrid(shares, shares)
    gained_share = gained_of(lost_share, both_share)
    rest = 1 - lost_share - both_share - gained_share
    with np.errstate(invalid="ignore", divide="ignore"):
        counts = (both, gained, lost, count - both - gained - lost)
        logs = (n * np.log(p) for n, p in zip(counts, (both_share, gained_share, lost_share, rest), strict=True))
        likelihood = np.nan_to_num(sum(logs), nan=-np.inf)
    best = np.unravel_index(np.argmax(likelihood), likelihood.shape)
    return gained_share[best], lost_share[best]


def test_bounds_lie_where_the_score_with_the_likeliest_shares_is_at_its_quantile() -> None:
    """By brute force: the likelihood is maximized under the bound, over a grid."""
    both, gained, lost, count = table = (20, 3, 8, 40)
    z = float(norm.ppf(0.975))
    for bound, side in zip(bounds(tango(gained, lost, count, LEVEL)), (1, -1), strict=True):
        one, other = _likeliest(table, lambda lost_share, _: lost_share + bound)  # noqa: B023
        spread = np.sqrt(count * (one + other - bound**2))
        assert (gained - lost - count * bound) / spread == pytest.approx(side * z, abs=0.02)
    for bound, side in zip(bounds(tang(both, gained, lost, count, LEVEL)), (1, -1), strict=True):
        one, other = _likeliest(table, lambda x, both_share: bound * (x + both_share) - both_share)  # noqa: B023
        spread = np.sqrt(count * bound * (one + other))
        assert (both + gained - bound * (both + lost)) / spread == pytest.approx(side * z, abs=0.02)


def rate(count: int, gained: float, lost: float) -> tuple[float, float]:
    """How often a bound lies on the wrong side of the truth: every table, by its chance."""
    a, b = (each.ravel().astype(float) for each in np.meshgrid(np.arange(count + 1), np.arange(count + 1)))
    a, b = a[a + b <= count], b[a + b <= count]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.where(n > 0, n * np.log(p), 0.0) for n, p in ((a, gained), (b, lost))]
    rest = count - a - b
    ways = lgamma(count + 1) - np.array(
        [lgamma(x + 1) + lgamma(y + 1) + lgamma(r + 1) for x, y, r in zip(a, b, rest, strict=True)]
    )
    chance = np.exp(ways + logs[0] + logs[1] + rest * np.log(1 - gained - lost))
    low, high = tango(a, b, count, LEVEL)
    return float(chance[low > gained - lost].sum()), float(chance[high < gained - lost].sum())


@pytest.mark.parametrize(
    ("count", "gained", "lost"),
    [(200, 0.0, 0.05), (200, 0.01, 0.03), (100, 0.0, 0.02), (60, 0.1, 0.15), (30, 0.2, 0.3)],
)
def test_loss_at_the_margin_passes_as_rarely_as_said(count: int, gained: float, lost: float) -> None:
    """Newcombe's passed 6.1 % in the first case; a few tenths over 2.5 % are what a discrete table leaves."""
    passed, failed = rate(count, gained, lost)
    assert passed <= 0.028
    assert passed + failed <= 0.07


def test_right_and_wrong_are_counted_from_the_documents() -> None:
    base, variant = np.array([1.0] * 6 + [0.0] * 4), np.array([1.0] * 3 + [0.0] * 6 + [1.0])
    counts = RightWrong.of(base, variant)
    assert counts == RightWrong(both=3, gained=1, lost=3, documents=10)
    assert counts.error == pytest.approx((variant - base).std() / np.sqrt(10))
    assert counts.differences(LEVEL, ONE)[0][0] == pytest.approx(float(tango(1, 3, 10, LEVEL)[0]))
    turned, straight = counts.ratio(LEVEL, turned=True), counts.ratio(LEVEL)
    assert turned is not None and straight is not None and turned == pytest.approx((1 / straight[1], 1 / straight[0]))


def test_ratio_over_a_base_without_a_right_answer_is_not_given() -> None:
    assert RightWrong(both=0, gained=2, lost=0, documents=5).ratio(LEVEL) is None
    none_left = RightWrong(both=0, gained=0, lost=4, documents=20).ratio(LEVEL)
    assert none_left is not None and none_left[0] == 0 and none_left[1] > 0.1
