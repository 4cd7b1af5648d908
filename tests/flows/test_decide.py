"""The decision, over variants that are made up."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from configs.decision import Decision
from flows.accuracy import paired
from flows.compare import corrected
from flows.decide import decide, for_all
from flows.judgement import Estimate, Judged, Point, Ratio


def judged(name: str, throughput: float, verdict: Any = "pass", lead: Any = "shown", **settings: Any) -> Judged:
    """A variant with one point; `lead` says whether its repeats show what its throughput claims."""
    value = throughput / 10.0
    ratios = {
        "shown": Ratio(value, 0.98 * value, 1.02 * value),
        "wide": Ratio(value, 0.1, 9.0),
        "one": Ratio(value, None, None),
    }
    figure = Estimate(throughput, 0.98 * throughput, 1.02 * throughput)
    made = Judged(
        name=name,
        size_bytes=100,
        points=(Point(1.0, "streams", 3, {"output_tokens_per_second": figure}, (), ()),),
        capacity=None,
        gains=(),
        objective=figure,
        against_base=ratios[lead],
        slower=None,
        differences=(),
        pooled=None,
        verdict=verdict,
        broken_constraints=(),
        evidence={},
    )
    return replace(made, **settings)


BASE = replace(judged("base", 10.0, None, size_bytes=200), against_base=None)
TOO_BIG = ("size is 9 GB, over the limit of 8 GB",)


@pytest.mark.parametrize(
    ("variants", "answer", "recommended"),
    [
        ([judged("a", 20.0)], "deploy", "a"),
        ([judged("a", 20.0), judged("b", 30.0)], "deploy", "b"),
        ([judged("a", 20.0), judged("b", 30.0, lead="wide")], "deploy", "a"),
        ([judged("a", 5.0)], "keep the base", "base"),
        ([judged("a", 20.0, "fail")], "keep the base", "base"),
        ([judged("a", 20.0, lead="wide")], "not enough evidence", None),
        ([judged("a", 20.0, lead="one")], "not enough evidence", None),
        ([judged("a", 20.0, "inconclusive")], "not enough evidence", None),
        ([judged("a", 20.0), judged("b", 30.0, "inconclusive")], "deploy", "a"),
        ([judged("a", 20.0, broken_constraints=TOO_BIG)], "keep the base", "base"),
        ([judged("a", 20.0, objective=None)], "keep the base", "base"),
    ],
)
def test_decision_takes_the_best_that_passes_and_is_shown_to_lead(
    variants: list[Judged], answer: str, recommended: Any
) -> None:
    found = decide([BASE, *variants], Decision(), {})
    assert (found.answer, found.recommended) == (answer, recommended)
    undecided = {"base"} if recommended is None else set()
    assert set(found.reasons) == {v.name for v in [BASE, *variants]} - {recommended} - undecided


@pytest.mark.parametrize("others", [[], [judged("a", 5.0)], [judged("a", 20.0, "fail")]])
def test_base_is_not_kept_while_variants_are_still_to_be_judged(others: list[Judged]) -> None:
    found = decide([BASE, *others], Decision(), {}, final=False)
    assert (found.answer, found.recommended) == ("not enough evidence", None)
    assert set(found.reasons) == {v.name for v in others}
    assert found.sentence.endswith("better throughput (10 output tokens/s) yet.")


def test_base_that_breaks_a_limit_gives_way_without_a_lead() -> None:
    base = replace(BASE, broken_constraints=TOO_BIG)
    found = decide([base, judged("a", 5.0), judged("b", 6.0, "fail")], Decision(), {})
    assert (found.answer, found.recommended) == ("deploy", "a")
    assert found.reasons["base"] == TOO_BIG[0]


def test_nothing_is_recommended_where_all_break_a_limit() -> None:
    found = decide([replace(BASE, broken_constraints=TOO_BIG)], Decision(), {})
    assert (found.answer, found.recommended) == ("not enough evidence", None)


def test_pareto_front_leaves_out_what_another_beats() -> None:
    small, worse = judged("small", 5.0, size_bytes=50), judged("worse", 4.0, size_bytes=60)
    assert decide([BASE, small, worse], Decision(), {}).pareto == ("base", "small")


def test_p_values_are_corrected_over_variants() -> None:
    def lost(count: int) -> Any:
        pairs = np.array([[1, 0]] * count + [[1, 1]] * (100 - count), dtype=float)
        return paired("task", "acc", pairs, True, Decision())

    fewer, more = lost(6), lost(9)
    first, second = corrected([judged(f"v{i}", 1.0, differences=(d,)) for i, d in enumerate((fewer, more))])
    assert second.differences[0].p_holm == pytest.approx(2 * more.p_value)
    assert first.differences[0].p_holm == pytest.approx(max(fewer.p_value, 2 * more.p_value))


@pytest.mark.parametrize(
    ("speeds", "answer", "recommended", "deploys"),
    [
        ({"chat": 20.0, "rag": 30.0}, "deploy", "a", True),
        ({"chat": 5.0, "rag": 5.0}, "keep the base", "base", False),
        ({"chat": 20.0, "rag": 5.0}, "differs by workload", None, False),
    ],
)
def test_answers_for_workloads_come_to_one_where_they_are_the_same(
    speeds: dict[str, float], answer: str, recommended: Any, deploys: bool
) -> None:
    parts = {name: decide([BASE, judged("a", speed)], Decision(), {}) for name, speed in speeds.items()}
    found = for_all(parts, {}, ())
    assert (found.answer, found.recommended, found.deploys) == (answer, recommended, deploys)
    assert found.workloads == parts
    assert all(name in found.sentence for name in speeds)


def test_different_variants_that_are_all_deployed_open_the_gate() -> None:
    parts = {
        "chat": decide([BASE, judged("a", 20.0), judged("b", 30.0)], Decision(), {}),
        "rag": decide([BASE, judged("a", 30.0), judged("b", 20.0)], Decision(), {}),
    }
    found = for_all(parts, {}, ())
    assert (found.answer, found.deploys) == ("differs by workload", True)
    assert found.sentence == "The answer depends on the workload: chat: deploy b; rag: deploy a."


def test_missing_evidence_under_a_workload_names_its_settings() -> None:
    found = decide([BASE, judged("a", 20.0, lead="wide")], Decision(), {}, "workloads.chat")
    assert "raise workloads.chat.repeats or workloads.chat.duration_s" in found.sentence
