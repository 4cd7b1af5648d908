"""Percentiles with bounds that assume no distribution."""

import numpy as np
import pytest

from flows.statistics.percentiles import bounds, fewest, share_bounds


def stalling(random: np.random.Generator, count: int) -> np.ndarray:
    """The audit's TTFT: lognormal, and one in 25 stalls for another second; its 95th percentile is 636 ms."""
    return np.asarray(random.lognormal(np.log(200), 0.5, count) + 1000 * (random.random(count) < 0.04))


@pytest.mark.parametrize(
    ("percentile", "one_sided", "two_sided"), [(95, 59, 72), (99, 299, 368)], ids=["the 95th", "the 99th"]
)
def test_upper_bound_of_a_percentile_needs_so_many_requests(percentile: float, one_sided: int, two_sided: int) -> None:
    assert (fewest(percentile, 0.9), fewest(percentile, 0.95)) == (one_sided, two_sided)
    values = np.arange(1.0, two_sided + 1)
    assert bounds([values], percentile, 0.95)[1] == two_sided
    assert bounds([values[1:]], percentile, 0.95)[1] is None


def test_bounds_are_the_order_statistics_of_the_binomial() -> None:
    """n = 100, the median: ranks 40 and 61 (Conover 1999, table of the binomial)."""
    assert bounds([np.arange(1.0, 101)], 50, 0.95) == (40, 61)


@pytest.mark.parametrize("repeats", [(24, 24, 24), (100,), (40, 10, 30)])
def test_interval_of_stalls_covers_at_its_rate(repeats: tuple[int, ...]) -> None:
    random, truth, count = np.random.default_rng(3), np.percentile(stalling(np.random.default_rng(0), 10**6), 95), 600
    inside = 0
    for _ in range(count):
        low, high = bounds([stalling(random, size) for size in repeats], 95, 0.95)
        inside += (low or 0.0) <= truth <= (high or np.inf)
    assert inside / count >= 0.93


def test_repeats_that_differ_are_worth_fewer_requests() -> None:
    random = np.random.default_rng(4)
    alike = [random.normal(200, 10, 200) for _ in range(3)]
    apart = [alike[0], alike[1], alike[2] + 30]
    narrow, wide = (np.subtract(*reversed([b or np.nan for b in bounds(r, 95, 0.95)])) for r in (alike, apart))
    assert np.isnan(wide) or wide > 1.5 * narrow


@pytest.mark.parametrize(
    ("within", "low", "high"),
    [([(59, 59)], 0.93939, 1.0), ([(95, 100)], 0.88717, 0.98357), ([(0, 20)], 0.0, 0.16843), ([(0, 0)], 0.0, 1.0)],
)
def test_share_within_has_the_exact_interval(within: list[tuple[int, int]], low: float, high: float) -> None:
    assert share_bounds(within, 0.95) == (pytest.approx(low, abs=1e-5), pytest.approx(high, abs=1e-5))


def test_shares_that_differ_between_repeats_are_less_certain() -> None:
    even, uneven = [(90, 100)] * 3, [(100, 100), (100, 100), (70, 100)]
    widths = [high - low for low, high in (share_bounds(shares, 0.95) for shares in (even, uneven))]
    assert widths[1] > 2 * widths[0]
