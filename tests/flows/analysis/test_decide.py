"""The decision, over variants that are made up."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from configs.decision import Decision
from flows.analysis.accuracy import paired
from flows.analysis.compare import corrected
from flows.analysis.decide import decide, for_all
from flows.analysis.judgement import Difference, Estimate, Gain, Judged, Lead, Point, Ratio, Stopped


def judged(name: str, throughput: float, verdict: Any = "pass", lead: Any = "shown", **settings: Any) -> Judged:
    """A variant with one point; `lead` says whether its repeats show what its throughput claims."""
    value = throughput / 10.0
    leads = {
        "shown": Lead(value, 0.98 * value, 1.02 * value, 0.97 * value, 1.02 * value, 3),
        "wide": Lead(value, 0.1, 9.0, 0.01, 9.0, 3, repeats_needed=9),
        "one": Lead(value, None, None, None, None, 1),
    }
    figure = Estimate(throughput, 0.98 * throughput, 1.02 * throughput)
    made = Judged(
        name=name,
        size_bytes=100,
        points=(Point(1.0, "streams", 3, {"output_tokens_per_second": figure}, (), ()),),
        capacity=None,
        gains=(),
        objective=figure,
        against_base=leads[lead],
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
        ([judged("a", 5.0)], "keep the baseline", "base"),
        ([judged("a", 20.0, "fail")], "keep the baseline", "base"),
        ([judged("a", 20.0, lead="wide")], "not enough evidence", None),
        ([judged("a", 20.0, lead="one")], "not enough evidence", None),
        ([judged("a", 20.0, "inconclusive")], "not enough evidence", None),
        ([judged("a", 20.0), judged("b", 30.0, "inconclusive")], "deploy", "a"),
        ([judged("a", 20.0, broken_constraints=TOO_BIG)], "keep the baseline", "base"),
        ([judged("a", 20.0, objective=None)], "not enough evidence", None),
        ([judged("a", 20.0, unsure_constraints=TOO_BIG)], "not enough evidence", None),
        ([judged("a", 10.05)], "keep the baseline", "base"),
        ([judged("a", 10.3)], "not enough evidence", None),
        ([judged("a", 10.05), judged("b", 10.2, lead="wide")], "not enough evidence", None),
        ([judged("a", 9.97, lead="wide")], "not enough evidence", None),
        ([judged("a", 9.0, "inconclusive")], "keep the baseline", "base"),
    ],
)
def test_decision_takes_the_best_that_passes_and_is_shown_to_lead(
    variants: list[Judged], answer: str, recommended: Any
) -> None:
    judgement = decide([BASE, *variants], Decision(), {})
    assert (judgement.answer, judgement.recommended) == (answer, recommended)
    undecided = {"base"} if recommended is None else set()
    assert set(judgement.reasons) == {v.name for v in [BASE, *variants]} - {recommended} - undecided


@pytest.mark.parametrize("others", [[], [judged("a", 5.0)], [judged("a", 20.0, "fail")]])
def test_base_is_not_kept_while_variants_are_still_to_be_judged(others: list[Judged]) -> None:
    judgement = decide([BASE, *others], Decision(), {}, final=False)
    assert (judgement.answer, judgement.recommended) == ("not enough evidence", None)
    assert set(judgement.reasons) == {v.name for v in others}
    assert judgement.sentence.startswith("Not enough evidence: no other variant ")
    assert judgement.sentence.endswith(" yet.")


def test_base_that_breaks_a_limit_gives_way_without_a_lead() -> None:
    base = replace(BASE, broken_constraints=TOO_BIG)
    judgement = decide([base, judged("a", 5.0), judged("b", 6.0, "fail")], Decision(), {})
    assert (judgement.answer, judgement.recommended) == ("deploy", "a")
    assert judgement.reasons["base"] == TOO_BIG[0]


def test_nothing_is_recommended_where_all_break_a_limit() -> None:
    broken = [replace(v, broken_constraints=TOO_BIG) for v in (BASE, judged("a", 20.0))]
    judgement = decide(broken, Decision(), {})
    assert (judgement.answer, judgement.recommended) == ("not enough evidence", None)
    assert judgement.sentence == "No variant, the baseline included, meets the constraints."


def test_nothing_is_said_of_the_base_where_no_variant_was_measured() -> None:
    judgement = decide([BASE], Decision(), {"int8": "out of memory"})
    assert (judgement.answer, judgement.recommended) == ("nothing was measured", None)
    assert judgement.sentence.endswith("no other variant was measured (int8: out of memory).")
    ended = (Stopped("int8", "not acceptable", "loses", 20, (), 0.0),)
    assert decide([BASE], Decision(), {}, stopped=ended).recommended == "base"


def test_base_of_which_a_limit_is_not_shown_gives_way_to_nobody() -> None:
    unsure = "TTFT p95 is 201 [195, 207] ms, on both sides of the limit of 200 ms at 1 client"
    judgement = decide([replace(BASE, unsure_constraints=(unsure,)), judged("a", 20.0)], Decision(), {})
    assert (judgement.answer, judgement.recommended) == ("not enough evidence", None)
    assert unsure in judgement.sentence and "raise load.repeats" in judgement.sentence


def test_loss_at_another_load_is_said_in_the_sentence() -> None:
    gains = (
        Gain(1.0, "streams", "output_tokens_per_second", 10.0, 5.0, Ratio(0.5, 0.4, 0.6)),
        Gain(2.0, "streams", "output_tokens_per_second", 10.0, 9.9, Ratio(0.99, 0.985, 0.995)),
        Gain(4.0, "streams", "ttft_p95_ms", 10.0, 20.0, Ratio(0.5, 0.4, 0.6)),
    )
    judgement = decide([BASE, judged("a", 20.0, gains=gains)], Decision(), {})
    assert judgement.recommended == "a"
    assert judgement.sentence.endswith(
        " But it loses elsewhere: 0.50x the baseline's tokens/s [0.40, 0.60] at 1 client."
    )


def test_variant_that_the_base_outruns_at_a_load_that_it_cannot_keep_is_not_deployed() -> None:
    loads = [replace(judged("x", value).points[0], asked=value) for value in (10.0, 20.0)]
    broken = replace(loads[1], violations=("too slow",))
    base = replace(judged("base", 20.0, None, points=tuple(loads)), against_base=None)
    ahead = judged("a", 12.0, points=(loads[0], broken))
    assert decide([base, ahead], Decision(), {}).recommended == "base"
    open_still = replace(ahead, points=(loads[0], replace(loads[1], unsure=("may be too slow",))))
    assert decide([base, open_still], Decision(), {}).answer == "not enough evidence"


def difference(lost: int, **settings: Any) -> Difference:
    """A task of 400 documents, so many of which a variant loses."""
    pairs = np.array([[1, 0]] * lost + [[1, 1]] * (400 - lost), dtype=float)
    return replace(paired("task", "acc", pairs, True, Decision()), **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"margin": 0.001, "verdict": "fail"},
            "fails: task acc changes by -0.025 [-0.045, -0.014], beyond the margin of 0.001",
        ),
        (
            {"margin": None, "min_recovery": 0.99, "verdict": "inconclusive", "documents_needed": None},
            "inconclusive: task acc keeps 97.5 % [95.5, 98.6] crosses a recovery of 99 %; 400 documents can show "
            "a loss of 0.029 or more",
        ),
        (
            {"margin": 0.03, "verdict": "inconclusive", "sources": 40, "documents_needed": None, "sources_needed": 90},
            "inconclusive: task acc changes by -0.025 [-0.045, -0.014] crosses the margin of 0.03; 400 documents "
            "of 40 sources can show a loss of 0.029 or more; if the measured change is the true one, about 90 sources "
            "would settle it",
        ),
        ({"undecidable": "it has no ends", "verdict": "inconclusive"}, "[-0.045, -0.014], but it has no ends"),
    ],
)
def test_reason_names_what_the_task_itself_is_judged_by(settings: dict[str, Any], said: str) -> None:
    variant = judged("a", 20.0, settings["verdict"], differences=(difference(10, **settings),))
    assert said in decide([BASE, variant], Decision(), {}).reasons["a"]


def test_failed_task_is_the_reason_before_an_inconclusive_one() -> None:
    both = (difference(10, verdict="inconclusive"), difference(40, task="other", verdict="fail"))
    reason = decide([BASE, judged("a", 20.0, "fail", differences=both)], Decision(), {}).reasons["a"]
    assert reason.startswith("fails: other acc")


def test_missing_evidence_names_the_task_s_own_margin_and_what_settles_it() -> None:
    unsure = difference(10, margin=0.03, verdict="inconclusive", documents_needed=1234)
    sentence = decide([BASE, judged("a", 20.0, "inconclusive", differences=(unsure,))], Decision(), {}).sentence
    assert "not shown to meet the margin of 0.03 on task; about 1,234 documents would settle it" in sentence


def test_perplexities_alone_ask_for_no_documents() -> None:
    shown = difference(10, verdict=None, margin=None)
    sentence = decide([BASE, judged("a", 20.0, "inconclusive", differences=(shown,))], Decision(), {}).sentence
    assert "documents" not in sentence and "a perplexity without a `recovery` is only shown" in sentence


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
        ({"chat": 5.0, "rag": 5.0}, "keep the baseline", "base", False),
        ({"chat": 20.0, "rag": 5.0}, "differs by workload", None, False),
    ],
)
def test_answers_for_workloads_come_to_one_where_they_are_the_same(
    speeds: dict[str, float], answer: str, recommended: Any, deploys: bool
) -> None:
    parts = {name: decide([BASE, judged("a", speed)], Decision(), {}) for name, speed in speeds.items()}
    judgement = for_all(parts, {}, ())
    assert (judgement.answer, judgement.recommended, judgement.deploys) == (answer, recommended, deploys)
    assert judgement.workloads == parts
    assert all(name in judgement.sentence for name in speeds)


def test_different_variants_that_are_all_deployed_open_the_gate() -> None:
    parts = {
        "chat": decide([BASE, judged("a", 20.0), judged("b", 30.0)], Decision(), {}),
        "rag": decide([BASE, judged("a", 30.0), judged("b", 20.0)], Decision(), {}),
    }
    judgement = for_all(parts, {}, ())
    assert (judgement.answer, judgement.deploys) == ("differs by workload", True)
    assert judgement.sentence == "The answer depends on the workload: chat: deploy b; rag: deploy a."


def test_missing_evidence_under_a_workload_names_its_settings() -> None:
    judgement = decide([BASE, judged("a", 20.0, lead="wide")], Decision(), {}, "workloads.chat")
    assert "raise workloads.chat.repeats to about 9 or workloads.chat.duration_s" in judgement.sentence
