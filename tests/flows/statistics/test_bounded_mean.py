"""Means of scores in a known range: bounds that hold however skewed the scores are."""

import numpy as np
import pytest
from scipy.stats import beta, norm

from flows.statistics.bounded_mean import Scores, certainty_above, mean_bounds, most_of, ratio_bounds

LEVEL = 0.95
ONE = np.ones(1)


def bounds_of(change: list[float], times: list[int]) -> tuple[float, float]:
    low, high = mean_bounds(np.array(change), np.ones(len(change)), np.array(times, dtype=float), 1.0, LEVEL)
    return float(low), float(high)


@pytest.mark.parametrize("count", [2, 10, 200, 5000])
def test_no_difference_leaves_what_clopper_and_pearson_leave(count: int) -> None:
    low, high = bounds_of([0.0], [count])
    assert (low, high) == pytest.approx((-(1 - 0.025 ** (1 / count)), 1 - 0.025 ** (1 / count)), rel=0.01)


@pytest.mark.parametrize(("right", "count"), [(1, 20), (14, 20), (3, 400)])
def test_bounds_of_right_and_wrong_are_those_of_clopper_and_pearson(right: int, count: int) -> None:
    counts = np.array([count - right, right], dtype=float)
    z = float(norm.ppf(0.975))
    low = float(beta.ppf(0.025, right, count - right + 1))
    values = np.array([0.0, 1.0]) - low
    assert certainty_above(values, counts, np.array(-low)) == pytest.approx(z, abs=0.02)


def test_quantile_is_that_of_means_with_weights_drawn_at_random() -> None:
    random = np.random.default_rng(3)
    values, counts = np.array([-0.5, 0.0, 0.3]), np.array([6, 80, 14])
    drawn = random.exponential(size=(200_000, 101))
    means = drawn[:, :100] @ np.repeat(values, counts) - drawn[:, 100]
    expected = float(np.quantile(means / drawn.sum(1), 0.025))
    assert bounds_of(values.tolist(), counts.tolist())[0] == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("change", [0.5, -0.1])
def test_two_documents_that_agree_prove_nothing(change: float) -> None:
    """Two of F1 .5 and 1 each passed a margin of .0001 and failed at -.1 by a t interval without width."""
    low, high = bounds_of([change], [2])
    assert low < -0.5 < 0.5 < high


@pytest.mark.parametrize(
    ("change", "shares", "count"),
    [
        ((-0.5, 0.0), (0.04, 0.96), 20),
        ((-0.5, 0.0), (0.04, 0.96), 200),
        ((-1.0, 0.0), (0.02, 0.98), 100),
        ((-1.0, 0.0), (0.02, 0.98), 500),
        ((-0.05, 0.0, 1.0), (0.8, 0.18, 0.02), 200),
        ((-0.05, 0.0, 1.0), (0.8, 0.18, 0.02), 1000),
        ((-0.5, -0.2, 0.0, 0.2), (0.04, 0.1, 0.76, 0.1), 2376),
    ],
)
def test_skewed_loss_at_the_margin_errs_as_rarely_as_said(
    change: tuple[float, ...], shares: tuple[float, ...], count: int
) -> None:
    """A t interval passed 43.9 % of the first, and failed 8.6 % of the fifth."""
    drawn = np.random.default_rng(4).multinomial(count, shares, 4000).astype(float)
    low, high = mean_bounds(np.array(change), np.ones(len(change)), drawn, 1.0, LEVEL)
    truth = float(np.dot(change, shares))
    allowed = 0.025 + 3 * np.sqrt(0.025 * 0.975 / 4000)
    assert (low > truth).mean() <= allowed and (high < truth).mean() <= allowed


def test_many_documents_give_hardly_a_wider_interval_than_t() -> None:
    change = np.clip(np.random.default_rng(5).normal(-0.01, 0.2, 20_000), -1, 1)
    low, high = mean_bounds(change, np.ones(len(change)), np.ones(len(change)), 1.0, LEVEL)
    assert high - low == pytest.approx(2 * 1.96 * change.std() / np.sqrt(len(change)), rel=0.06)


def test_sources_are_what_is_drawn_where_documents_share_them() -> None:
    """Four sources of 50 documents each: whatever they say, a fifth may say the opposite."""
    pairs = np.array([[1.0, 1.0]] * 200)
    of_sources = Scores.of(pairs, np.ones(200), np.arange(200) // 50, 1.0)
    alone = Scores.of(pairs, np.ones(200), None, 1.0)
    assert of_sources.differences(LEVEL, ONE)[0] == pytest.approx(-(1 - 0.025 ** (1 / 4)), rel=0.01)
    assert alone.differences(LEVEL, ONE)[0] == pytest.approx(-(1 - 0.025 ** (1 / 200)), rel=0.01)


def test_recovery_holds_what_is_kept_at_its_rate() -> None:
    over, under = np.array([0.0, 0.5, 1.0, 0.2]), np.array([0.0, 1.0, 1.0, 0.2])
    shares = (0.2, 0.05, 0.45, 0.3)
    drawn = np.random.default_rng(6).multinomial(500, shares, 1000).astype(float)
    low, high = ratio_bounds(over, under, drawn, 1.0, LEVEL)
    truth = float(np.dot(over, shares) / np.dot(under, shares))
    assert 0.93 <= ((low <= truth) & (truth <= high)).mean() <= 0.995
    assert (low > truth).mean() <= 0.04


@pytest.mark.parametrize(
    ("metric", "values", "most"),
    [
        ("f1", [0.0, 1.0], 1.0),
        ("rouge1_max", [0.0, 61.5], 100.0),
        ("brier_score", [0.1, 1.9], 2.0),
        ("likelihood_diff", [-3.0, 2.0], None),
        ("brier_score", [0.1, 2.5], None),
    ],
)
def test_range_of_a_metric_is_known_or_it_has_none(metric: str, values: list[float], most: float | None) -> None:
    assert most_of(metric, np.array(values)) == most
