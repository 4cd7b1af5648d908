"""Whether a server falls behind, where the truth is known."""

from typing import Any

import numpy as np
import pytest
from simulated_server import arrivals, rows

from flows.analysis import requests
from flows.analysis.requests import Requests

WINDOW_S = 60.0


def figures_of(
    rate: float,
    service_s: Any,
    *,
    room: int | None = None,
    random: np.random.Generator | None = None,
    window_s: float = WINDOW_S,
    warmup_s: float | None = None,
) -> dict[str, float]:
    """Figures of a rate on a server, its requests followed to their end under the same rate.

    Args:
        service_s: seconds of a request; or a function that gives those of so many.
        warmup_s: None for two latencies.
    """
    longest = service_s if isinstance(service_s, float) else float(np.max(service_s(1000)))
    due = arrivals(rate, -(2 * longest if warmup_s is None else warmup_s), window_s + 2 * longest, random)
    served = rows(due, service_s if isinstance(service_s, float) else service_s(len(due)), room=room)
    return requests.figures(Requests.of(served, window_s, open_loop=True), rate=rate)


def marked(figures: dict[str, float]) -> bool:
    return "saturated" in requests.labels(figures, open_loop=True)


@pytest.mark.parametrize("warmup_s", [None, 5.0], ids=["a full pipe", "a pipe that is still filling"])
@pytest.mark.parametrize("rate", [2.0, 5.0, 10.0])
@pytest.mark.parametrize("latency_s", [12.0, 15.0, 20.0, 30.0])
def test_server_with_room_for_all_is_not_saturated(latency_s: float, rate: float, warmup_s: float | None) -> None:
    """The audit's D4a: of latencies of 15 s at 5 requests/s, 20 s at 2, and 30 s always."""
    random = np.random.default_rng(int(latency_s * rate))
    assert not marked(figures_of(rate, latency_s, warmup_s=warmup_s))
    assert not any(marked(figures_of(rate, latency_s, random=random, warmup_s=warmup_s)) for _ in range(5))


def test_requests_of_several_lengths_do_not_look_like_a_backlog() -> None:
    random = np.random.default_rng(2)
    runs = [figures_of(5.0, lambda n: random.lognormal(np.log(12), 0.3, n), random=random) for _ in range(40)]
    assert sum(map(marked, runs)) <= 2


@pytest.mark.parametrize(("room", "window_s", "excess"), [(16, 60.0, 0.1), (64, 120.0, 0.05)])
@pytest.mark.parametrize("service_s", [1.0, 2.0, 4.0])
def test_overload_is_found_and_measured(service_s: float, room: int, window_s: float, excess: float) -> None:
    """The audit's D4b: marked in none of 60 windows each; TTFT p95 was 7 s there and growing."""
    figures = figures_of((1 + excess) * room / service_s, service_s, room=room, window_s=window_s)
    assert marked(figures)
    assert figures["overload"] == pytest.approx(excess, abs=0.005)


def test_overload_is_found_behind_the_chance_of_poisson_arrivals() -> None:
    """The audit's D4b: 27 % of the windows, at 5 % too much for 64 at once. What the server does is not by chance."""
    random, times = np.random.default_rng(7), 30
    runs = [figures_of(1.05 * 64, 1.0, room=64, random=random, window_s=120.0) for _ in range(times)]
    assert sum(map(marked, runs)) >= 0.85 * times


@pytest.mark.parametrize("load", [0.5, 0.8, 0.9])
def test_queue_that_comes_and_goes_is_no_saturation(load: float) -> None:
    random, times = np.random.default_rng(9), 40
    runs = [figures_of(load * 16 / 2.0, 2.0, room=16, random=random) for _ in range(times)]
    assert sum(map(marked, runs)) <= 2


def test_few_requests_say_nothing_of_a_backlog() -> None:
    assert "overload" not in figures_of(0.1, 2.0)
