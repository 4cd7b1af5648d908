"""Ratios by pairs of one block: what drifts meets both, and what differs from start to start is in the interval."""

import numpy as np
import pytest

from flows.analysis.ratios import Spread, of_units, ratio, spread_of

TWO = (1.0, 1.0, 2.0, 2.0)
"""Starts of four repeats."""


def test_drift_that_meets_both_leaves_the_ratio_alone() -> None:
    drift, noise = (1.0, 0.8, 0.6), (1.0, 1.01, 0.99)
    estimate = ratio([(120 * d * n, 100 * d) for d, n in zip(drift, noise, strict=True)], 1, 0.95)
    assert estimate is not None and estimate.low is not None
    assert estimate.value == pytest.approx(1.2, rel=0.01)
    assert estimate.low > 1.15


def test_less_is_better_turns_the_ratio() -> None:
    estimate = ratio([(50.0, 100.0)], -1, 0.95)
    assert estimate is not None and estimate.value == pytest.approx(2.0)


def test_start_is_the_unit_where_there_are_several() -> None:
    pairs = [(1.10, 1.0), (1.12, 1.0), (1.02, 1.0), (1.00, 1.0)]
    units = of_units(pairs, TWO)
    assert units is not None and np.exp(units) == pytest.approx([np.sqrt(1.10 * 1.12), np.sqrt(1.02 * 1.00)])


def test_two_starts_of_one_variant_alone_have_no_interval_and_with_the_control_they_have() -> None:
    pairs = [(1.10, 1.0), (1.12, 1.0), (1.08, 1.0), (1.10, 1.0)]
    alone = ratio(pairs, 1, 0.95, TWO)
    assert alone is not None and alone.low is None
    units = of_units(pairs, TWO)
    assert units is not None
    spread = spread_of([units], np.array([0.01, -0.02]), one_start=False)
    assert spread is not None and spread.freedom == 3
    squares = float(((units - units.mean()) ** 2).sum()) + 0.01**2 + 0.02**2
    assert spread.variance == pytest.approx(squares / 3)
    together = ratio(pairs, 1, 0.95, TWO, spread)
    assert together is not None and together.low is not None
    assert together.value / together.low == pytest.approx(np.exp(3.182 * np.sqrt(squares / 3 / 2)), rel=1e-3)


def test_control_widens_the_interval_of_one_start() -> None:
    pairs = [(1.10, 1.0), (1.12, 1.0), (1.08, 1.0), (1.10, 1.0)]
    narrow = ratio(pairs, 1, 0.95)
    spread = spread_of([], np.array([0.04, 0.06]), one_start=True)
    wide = ratio(pairs, 1, 0.95, (), spread)
    assert narrow is not None and wide is not None and narrow.low is not None and wide.low is not None
    reach = np.log(narrow.value / narrow.low)
    assert np.log(wide.value / wide.low) == pytest.approx(np.hypot(reach, 0.05))


@pytest.mark.parametrize("starts", [2, 4])
def test_equal_engines_whose_starts_differ_are_covered_as_promised(starts: int) -> None:
    """Starts that differ by 2 %, repeats of one by 0.5 %: over repeats alone it was 40 % once."""
    random, covered = np.random.default_rng(5), 0
    for _ in range(400):
        sides = [[_repeats(random, starts) for _ in range(2)] for _ in range(2)]
        names = np.repeat(np.arange(starts), 2).tolist()
        pairs, again = (list(zip(ours, theirs, strict=True)) for ours, theirs in sides)
        units = [of_units(one, names) for one in (pairs, again)]
        assert units[0] is not None and units[1] is not None
        estimate = ratio(pairs, 1, 0.95, names, spread_of(units[:1], units[1], one_start=False))
        assert estimate is not None and estimate.low is not None and estimate.high is not None
        covered += estimate.low <= 1 <= estimate.high
    assert 366 <= covered <= 392


def _repeats(random: np.random.Generator, starts: int) -> list[float]:
    """Two of each start."""
    means = np.repeat(random.normal(0, 0.02, starts), 2)
    return np.exp(means + random.normal(0, 0.005, 2 * starts)).tolist()  # type: ignore[no-any-return]


def test_no_ratio_without_positive_values() -> None:
    assert ratio([(1.0, 0.0)], 1, 0.95) is None
    assert ratio([], 1, 0.95, (), Spread(1.0, 3)) is None
