"""When a point's window begins and ends, played through with a clock of its own."""

from collections.abc import Callable

import pytest

from actors.pacing import Pace, Point

STEP_S = 0.05


def played(pace: Pace, latency_s: Callable[[float], float], *, rate: float = 2.0, until: float = 200.0) -> Point:
    """A point under evenly spaced requests whose latencies are known, until it is over.

    Args:
        latency_s: of a request that begins at a moment.
    """
    point, moment, ends, number = Point(pace), 0.0, {}, 0
    while moment < until and not point.over(moment):
        moment += STEP_S
        while number / rate <= moment:
            point.begin(str(number), number / rate)
            ends[str(number)] = number / rate + latency_s(number / rate)
            number += 1
        for request in [name for name, end in ends.items() if end <= moment]:
            point.end(request)
            del ends[request]
    point.ended_at = moment  # type: ignore[attr-defined]
    return point


def ended_at(point: Point) -> float:
    return float(point.ended_at)  # type: ignore[attr-defined]


@pytest.mark.parametrize("latency_s", [1.0, 4.0, 20.0])
def test_open_loop_warms_up_for_two_latencies_and_drains_for_one(latency_s: float) -> None:
    pace = Pace(warmup_s=1.0, duration_s=60.0, grace_s=120.0, open_loop=True)
    point = played(pace, lambda _: latency_s)
    assert point.window is not None
    begin, end = point.window
    assert begin == pytest.approx(2 * latency_s, abs=0.6), "the last request of the first half is up to 0.5 s before it"
    assert end - begin == pytest.approx(60.0)
    assert ended_at(point) == pytest.approx(end + latency_s, abs=0.7)


def test_one_slow_request_of_many_holds_the_window_back() -> None:
    pace = Pace(warmup_s=3.0, duration_s=10.0, grace_s=120.0, open_loop=True)
    point = played(pace, lambda moment: 15.0 if moment == 1.0 else 1.0)
    assert point.window is not None and point.window[0] == pytest.approx(16.0, abs=0.2)


def test_closed_loop_warms_up_for_as_long_as_it_is_told_and_drains() -> None:
    point = played(Pace(warmup_s=3.0, duration_s=10.0, grace_s=60.0), lambda _: 8.0)
    assert point.window == pytest.approx((3.0, 13.0), abs=0.2)
    assert ended_at(point) == pytest.approx(21.0, abs=0.8)


def test_grace_ends_a_warm_up_and_a_drain_that_would_not() -> None:
    pace = Pace(warmup_s=2.0, duration_s=10.0, grace_s=5.0, open_loop=True)
    point = played(pace, lambda _: 1000.0)
    assert point.window == pytest.approx((7.0, 17.0), abs=0.2)
    assert ended_at(point) == pytest.approx(22.0, abs=0.2)


def test_no_grace_cuts_requests_off_where_the_window_ends() -> None:
    point = played(Pace(warmup_s=1.0, duration_s=5.0), lambda _: 30.0)
    assert ended_at(point) == pytest.approx(6.0, abs=0.2)


@pytest.mark.parametrize(("requests", "longest_s", "lasted_s"), [(0, 600, 5), (40, 600, 20), (40, 8, 8), (40, 1, 5)])
def test_window_goes_on_for_its_requests_but_not_for_ever(requests: int, longest_s: float, lasted_s: float) -> None:
    pace = Pace(warmup_s=1.0, duration_s=5.0, requests=requests, longest_s=longest_s, grace_s=10.0)
    point = played(pace, lambda _: 0.5)
    assert point.window is not None
    assert point.window[1] - point.window[0] == pytest.approx(lasted_s, abs=0.7)


def test_point_without_a_request_is_not_over() -> None:
    assert not Point(Pace(warmup_s=0.0, duration_s=1.0)).over(100.0)
