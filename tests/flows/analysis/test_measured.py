"""What one variant is shown to keep to and to break, by its points."""

from typing import Any

import pytest

from configs.decision import Decision
from flows.analysis import performance
from flows.analysis.measured import Measured, described

LIMITED = {"max_ttft_p95_ms": 200}
WITHIN, ACROSS, BEYOND = (150.0, 151.0, 152.0), (195.0, 204.0, 202.0), (300.0, 301.0, 302.0)


def measured(decision: Decision, loads: dict[float, tuple[float, ...]], **figures: Any) -> Measured:
    """A variant of 100 bytes.

    Args:
        loads: TTFT p95 in ms in every repeat, by clients.
    """
    sweeps = [
        [
            {"asked": clients, "unit": "streams", "requests": 100, "errors": 0, "ttft_p95_ms": ttft[repeat]}
            | {"output_tokens_per_second": 50.0, "client_share": 0.1, **figures}
            for clients, ttft in loads.items()
        ]
        for repeat in range(3)
    ]
    points = performance.points(sweeps, decision)
    return Measured("v", 100, sweeps, points, performance.objective(sweeps, points, 100, decision), {})


@pytest.mark.parametrize("objective", ["size", "ttft", "tpot", "throughput"])
def test_errors_break_a_constraint_of_every_objective(objective: Any) -> None:
    decision = Decision(objective=objective)
    variant = described(measured(decision, {1: WITHIN, 4: WITHIN}, errors=900), decision)
    assert variant.broken_constraints == ("2700 of 3000 requests failed, over 1 % at the lightest load",)


@pytest.mark.parametrize(
    ("loads", "broken", "unsure"),
    [
        ({1: WITHIN, 4: BEYOND}, 0, 0),
        ({1: BEYOND, 4: BEYOND}, 1, 0),
        ({1: ACROSS, 4: BEYOND}, 0, 1),
        ({4: BEYOND, 1: ACROSS}, 0, 1),
    ],
)
def test_constraint_is_kept_broken_or_not_shown(
    loads: dict[float, tuple[float, ...]], broken: int, unsure: int
) -> None:
    decision = Decision.model_validate({"objective": "size", "constraints": LIMITED})
    variant = described(measured(decision, loads), decision)
    assert (len(variant.broken_constraints), len(variant.unsure_constraints)) == (broken, unsure)
    assert all("at 1 client" in words for words in variant.unsure_constraints)


def test_base_whose_few_errors_are_not_shown_breaks_nothing() -> None:
    """2 errors of 102 in two of three repeats let a variant take over once that was five times slower."""
    decision = Decision()
    base = described(measured(decision, {1: WITHIN}, errors=2, requests=100), decision)
    assert base.broken_constraints == () and len(base.unsure_constraints) == 1


def test_variant_of_which_no_load_counts_breaks_nothing() -> None:
    decision = Decision.model_validate({"constraints": LIMITED})
    variant = described(measured(decision, {1: BEYOND}, client_share=0.95), decision)
    assert (variant.broken_constraints, variant.objective) == ((), None)
