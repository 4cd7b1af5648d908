"""Whether repeats are enough, where they go on until they are."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests_support import evaluations_of, write_records

from configs.decision import Decision
from configs.hardware import Hardware
from configs.loading import load_experiment
from flows.analysis.judgement import Lead
from flows.analysis.leads import excluded, of_pairs, shown
from flows.analysis.looks import near
from flows.planning import plan as planning
from flows.planning.plan import Plan
from flows.runtime.outcome import Outcome
from flows.store.records import Store
from flows.store.results import LookResult

POINT = {"asked": 1.0, "unit": "streams", "requests": 100, "errors": 0, "seconds": 6.0, "client_share": 0.1}


@pytest.fixture(name="made")
def _made(experiment_file: Any, hardware: Hardware) -> Plan:
    return planning.make(load_experiment(experiment_file(), ["load.repeats=auto"]), hardware)


def kept(store: Store, plan: Plan, *, until: int, enough: tuple[bool, ...] = ()) -> Outcome:
    """The compressed variant after so many repeats, and what its looks said."""
    variant = plan.variants[1]
    sides = [[[{**POINT, "output_tokens_per_second": speed + n}] for n in range(until)] for speed in (60.0, 40.0)]
    right = [{"everyday_science": [n % 2 == 0 for n in range(200)]}] * len(evaluations_of(variant))
    write_records(store, replace(variant, benchmarks=variant.benchmarks[:until]), 10**9, right, *sides)
    for look, said in zip(variant.looks, enough, strict=False):
        assert look.step
        with store.writing(look.step) as draft:
            draft.result = LookResult(said, "")
    return Outcome.of(variant, store)


@pytest.mark.parametrize(
    ("until", "enough", "due", "looks", "benchmarked"),
    [
        (0, (), 4, [], False),
        (4, (), 4, [0], False),
        (4, (True,), 4, [], True),
        (4, (False,), 8, [], False),
        (8, (False,), 8, [1], False),
        (12, (False, False), 12, [], True),
    ],
)
def test_repeats_are_due_until_a_look_says_that_they_are_enough(
    made: Plan, until: int, enough: tuple[bool, ...], due: int, looks: list[int], benchmarked: bool
) -> None:
    outcome = kept(Store.of(made.experiment.storage), made, until=until, enough=enough)
    assert outcome.due == list(range(due))
    assert (outcome.open_looks, outcome.benchmarked) == (looks, benchmarked)


def test_repeats_beyond_those_that_were_enough_count_for_nothing(made: Plan) -> None:
    """As another experiment may have made them, which asks for more."""
    outcome = kept(Store.of(made.experiment.storage), made, until=8, enough=(True,))
    assert outcome.benchmarked
    assert [record is not None for record in outcome.benchmarks] == [True] * 4 + [False] * 8


def test_look_rests_on_the_decision_and_on_its_repeats(made: Plan, experiment_file: Any, hardware: Hardware) -> None:
    other = planning.make(load_experiment(experiment_file(), ["load.repeats=auto", "decision.min_gain=0.1"]), hardware)
    steps, others = ([look.step for look in plan.variants[1].looks] for plan in (made, other))
    assert len(steps) == 3 and steps[2] is None
    fingerprints = {step.fingerprint for step in (*steps, *others) if step}
    assert len(fingerprints) == 4
    assert made.variants[1].benchmarks == other.variants[1].benchmarks


@pytest.mark.parametrize(("gain", "wrong"), [(1.0, "shown"), (1.03, "either")])
def test_looking_three_times_errs_as_rarely_as_promised(gain: float, wrong: str) -> None:
    random, decision, errors = np.random.default_rng(7), Decision(), 0
    for _ in range(500):
        ratios = gain * np.exp(random.normal(0, 0.02, 12))
        at_looks = [of_pairs([(one, 1.0) for one in ratios[:n].tolist()], 1, decision, 1, looks=3) for n in (4, 8, 12)]
        leads = [one for one in at_looks if one is not None]
        above, below = ([said(one, decision) for one in leads] for said in (shown, excluded))
        errors += any(above) if wrong == "shown" else any(above) or any(below)
    assert len(leads) == 3 and errors <= (50 if wrong == "either" else 25), "5 % on either side, of 500"


@pytest.mark.parametrize(
    ("low", "high", "enough"), [(0.98, 1.02, True), (0.95, 1.02, False), (0.98, 1.04, False), (None, None, False)]
)
def test_base_is_near_to_itself_where_its_control_is_within_the_smallest_gain(
    low: float | None, high: float | None, enough: bool
) -> None:
    assert near(Lead(1.0, low, high, low, high, 4), 0.03) == enough
