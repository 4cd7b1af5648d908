"""How many documents decide, before and after."""

import numpy as np
import pytest

from flows.statistics.proportions import RightWrong, tango
from flows.statistics.sample_size import documents_for, smallest_margin, times_needed

LEVEL = 0.95


@pytest.mark.parametrize("count", [30, 60, 100, 150])
def test_documents_without_a_flip_need_the_same_number_however_few_they_are(count: int) -> None:
    """The interval shrinks with their number there; by its root, 30 needed 800, 60 needed 408 and 100 needed 252."""
    alike = RightWrong(both=count, gained=0, lost=0, documents=count)
    times = times_needed(alike, 0.0, 0.02, 1, LEVEL, 1e4)
    assert times is not None and times * count == pytest.approx(188.2, rel=2e-3)
    assert tango(0, 0, 188, LEVEL)[0] < -0.02 <= tango(0, 0, 189, LEVEL)[0]


def test_documents_needed_pass_in_four_of_five_cases() -> None:
    counts = RightWrong(both=100, gained=4, lost=6, documents=200)
    times = times_needed(counts, -0.01, 0.03, 1, LEVEL, 1e4)
    assert times is not None
    count = round(200 * times)
    drawn = np.random.default_rng(1).multinomial(count, [0.02, 0.03, 0.95], 4000)
    passed = (tango(drawn[:, 0], drawn[:, 1], count, LEVEL)[0] >= -0.03).mean()
    assert 0.76 <= passed <= 0.84


def test_loss_on_the_margin_is_settled_by_no_number() -> None:
    assert times_needed(RightWrong(90, 3, 13, 200), -0.05, 0.05, 1, LEVEL, 5e3) is None


@pytest.mark.parametrize(("documents", "flips"), [(200, 0.03), (541, 0.08), (14042, 0.03)])
def test_smallest_margin_is_passed_in_four_of_five_cases(documents: int, flips: float) -> None:
    margin = smallest_margin(documents, flips, LEVEL)
    drawn = np.random.default_rng(2).multinomial(documents, [flips / 2, flips / 2, 1 - flips], 4000)
    passed = (tango(drawn[:, 0], drawn[:, 1], documents, LEVEL)[0] >= -margin).mean()
    assert 0.74 <= passed <= 0.88


def test_documents_for_a_margin_have_it_as_their_smallest() -> None:
    needed = documents_for(0.01, 0.08, LEVEL)
    assert needed is not None
    assert smallest_margin(needed, 0.08, LEVEL) <= 0.01 < smallest_margin(needed - 1, 0.08, LEVEL)
    assert documents_for(0.0, 0.08, LEVEL) is None
