"""What `plan` says of loads that cannot show their limits to be kept."""

from typing import Any

import pytest

from configs.loading import load_experiment
from flows.analysis import enough

RATES = {"kind": "poisson", "rates": [4, 0.1], "duration_s": 60, "repeats": 3, "prompt_tokens": 8, "output_tokens": 8}
CLIENTS = {
    "kind": "concurrent",
    "streams": [4, 1],
    "duration_s": 60,
    "repeats": 3,
    "prompt_tokens": 8,
    "output_tokens": 8,
}
LIMITED = {"objective": "capacity", "constraints": {"max_ttft_p95_ms": 200}}


def notes(experiment_file: Any, load: dict[str, Any], decision: dict[str, Any]) -> list[str]:
    return enough.notes(load_experiment(experiment_file(load=load, decision=decision)))


def test_rate_that_gives_too_few_requests_is_named_with_what_to_do(experiment_file: Any) -> None:
    (line,) = notes(experiment_file, RATES, LIMITED)
    assert line == (
        "load: a limit needs 72 requests to be shown; 0.1 requests/s for 60 s in 3 repeats give about 18; "
        "set load.requests: 24, or raise duration_s"
    )


def test_clients_are_told_how_fast_a_request_must_be(experiment_file: Any) -> None:
    (line,) = notes(experiment_file, CLIENTS, LIMITED)
    assert "1 client for 60 s" in line and "takes more than 2.5 s: then set load.requests: 24" in line


@pytest.mark.parametrize(
    ("load", "decision"),
    [
        ({**RATES, "requests": 24}, LIMITED),
        ({**RATES, "rates": [4]}, LIMITED),
        ({**CLIENTS, "requests": 24}, LIMITED),
        (CLIENTS, {"objective": "throughput"}),
    ],
)
def test_nothing_is_said_where_there_are_enough(
    experiment_file: Any, load: dict[str, Any], decision: dict[str, Any]
) -> None:
    assert notes(experiment_file, load, decision) == []


def test_goodput_needs_as_many_as_its_share(experiment_file: Any) -> None:
    (line,) = notes(experiment_file, RATES, {**LIMITED, "objective": "goodput"})
    assert "a limit needs 36 requests" in line and "load.requests: 12" in line
