"""Joules between two moments, from what a counter said at others."""

import threading
from itertools import accumulate, count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties.briefly import BRIEFLY

from actors.programs import energy
from actors.programs.energy import Energy

POWERS = st.lists(st.floats(0, 700), min_size=1, max_size=20)


def looks(powers: list[float], every_s: float = 0.5) -> Energy:
    """What was seen of devices that drew so many watts between two looks."""
    joules = accumulate((every_s * watts for watts in powers), initial=1e6)
    return Energy([(100 + every_s * place, value) for place, value in enumerate(joules)])


def test_constant_power_is_found_over_any_span() -> None:
    assert looks([300.0] * 20).joules(101.23, 108.7) == pytest.approx(300 * 7.47)


@BRIEFLY
@given(powers=POWERS, shares=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)))
def test_spans_that_follow_each_other_add_up(powers: list[float], shares: tuple[float, float, float]) -> None:
    found, (start, middle, end) = looks(powers), (100 + 0.5 * len(powers) * share for share in sorted(shares))
    parts = (found.joules(start, middle), found.joules(middle, end))
    assert None not in parts
    assert sum(part or 0.0 for part in parts) == pytest.approx(found.joules(start, end), abs=1e-3)


def test_span_that_was_not_watched_to_its_ends_has_no_energy() -> None:
    found = looks([300.0] * 4)
    assert found.joules(100.0, 102.0) == pytest.approx(600.0)
    assert found.joules(99.9, 102.0) is None
    assert found.joules(100.0, 102.1) is None
    assert Energy().joules(0.0, 1.0) is None


def test_counter_that_began_anew_has_no_energy() -> None:
    assert Energy([(100.0, 5e5), (101.0, 12.0)]).joules(100.0, 101.0) is None


def test_watching_looks_at_the_beginning_and_at_the_end_of_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "_EVERY_S", 60.0)
    before, values = threading.active_count(), count(1.0)
    with energy.watched(lambda: next(values)) as found:
        while not found.looks:
            pass
    assert threading.active_count() == before
    assert [joules for _, joules in found.looks] == [1.0, 2.0]


def test_nothing_is_seen_without_a_counter_or_of_devices_that_do_not_tell() -> None:
    for counter in (None, lambda: None):
        with energy.watched(counter) as found:
            pass
        assert not found.looks


@pytest.mark.parametrize(("told", "power"), [([1000.0, 1600.0], 120.0), ([None, 5.0], None), ([9.0, 5.0], None)])
def test_idle_power_is_the_mean_over_some_seconds(
    told: list[float | None], power: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(energy.time, "sleep", lambda seconds: now.append(now[-1] + seconds))
    monkeypatch.setattr(energy.time, "monotonic", lambda: now[-1])
    values = iter(told)
    assert energy.idle_power_w(lambda: next(values)) == (None if power is None else pytest.approx(power))
