"""The arithmetic of accuracy, against figures that are known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests_support import differ, evaluation_in, record, scored

from configs.accuracy import Task
from configs.base import UserError
from configs.decision import Decision
from flows.analysis import accuracy, answers


def test_paired_difference_counts_flips_and_tests_them_exactly(tmp_path: Path) -> None:
    difference = differ(tmp_path, [1.0] * 60 + [0.0] * 40, [1.0] * 50 + [0.0] * 48 + [1.0] * 2)
    assert (difference.base, difference.variant, difference.lost, difference.gained) == (0.6, 0.52, 10, 2)
    assert difference.difference == pytest.approx(-0.08)
    assert difference.p_value == pytest.approx(2 * sum([1, 12, 66]) / 2**12)
    assert difference.recovery == pytest.approx(0.52 / 0.6)


@pytest.mark.parametrize(
    ("lost", "documents", "verdict"), [(0, 1000, "pass"), (80, 1000, "fail"), (3, 60, "inconclusive")]
)
def test_verdict_follows_the_interval_and_the_margin(tmp_path: Path, lost: int, documents: int, verdict: str) -> None:
    base = [1.0] * documents
    difference = differ(tmp_path, base, [0.0] * lost + base[lost:], constraints={"max_accuracy_drop": 0.05})
    assert difference.verdict == verdict


def test_interval_covers_a_known_difference_at_its_rate(tmp_path: Path) -> None:
    random, covered = np.random.default_rng(7), 0
    for _ in range(200):
        pairs = random.choice([[1, 1], [0, 0], [1, 0], [0, 1]], p=[0.5, 0.3, 0.12, 0.08], size=300).astype(float)
        difference = accuracy.paired("task", "acc", pairs, True, Decision())
        covered += difference.low <= -0.04 <= difference.high
    assert 182 <= covered <= 198


def test_interval_covers_where_few_documents_differ() -> None:
    random, covered = np.random.default_rng(7), 0
    for _ in range(400):
        pairs = random.choice([[1, 1], [0, 0], [1, 0], [0, 1]], p=[0.6, 0.36, 0.03, 0.01], size=60).astype(float)
        difference = accuracy.paired("task", "acc", pairs, True, Decision())
        covered += difference.low <= -0.02 <= difference.high
    assert covered >= 374


def test_few_documents_that_all_agree_are_no_proof(tmp_path: Path) -> None:
    same = [1.0] * 12 + [0.0] * 8
    difference = differ(tmp_path, same, same, constraints={"max_accuracy_drop": 0.02})
    assert difference.low < -0.02 < 0.02 < difference.high
    assert difference.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("lost", "gained", "margin", "settled"), [(3, 3, 0.02, "pass"), (8, 3, 0.05, "pass"), (17, 3, 0.05, "fail")]
)
def test_documents_needed_settle_what_is_inconclusive(lost: int, gained: int, margin: float, settled: str) -> None:
    alike = 200 - lost - gained
    pairs = np.array([[1, 1]] * alike + [[1, 0]] * lost + [[0, 1]] * gained, dtype=float)
    decision = Decision.model_validate({"constraints": {"max_accuracy_drop": margin}})
    difference = accuracy.paired("task", "acc", pairs, True, decision)
    assert difference.verdict == "inconclusive"
    assert difference.documents_needed is not None and difference.documents_needed > 2 * 200
    times = -(-difference.documents_needed // 200)
    assert accuracy.paired("task", "acc", np.tile(pairs, (times, 1)), True, decision).verdict == settled


def test_no_number_of_documents_is_said_to_settle_what_lies_on_the_margin() -> None:
    pairs = np.array([[1, 1]] * 184 + [[1, 0]] * 13 + [[0, 1]] * 3, dtype=float)
    decision = Decision.model_validate({"constraints": {"max_accuracy_drop": 0.05}})
    difference = accuracy.paired("task", "acc", pairs, True, decision)
    assert (difference.verdict, difference.documents_needed) == ("inconclusive", None)


def test_recovery_interval_covers_at_its_rate() -> None:
    random, covered = np.random.default_rng(3), 0
    for _ in range(300):
        pairs = random.choice([[1, 1], [0, 0], [1, 0], [0, 1]], p=[0.5, 0.35, 0.1, 0.05], size=300).astype(float)
        difference = accuracy.paired("task", "acc", pairs, True, Decision())
        assert difference.recovery_low is not None and difference.recovery_high is not None
        covered += difference.recovery_low <= 0.55 / 0.6 <= difference.recovery_high
    assert 275 <= covered <= 296


def test_recovery_of_a_base_without_a_right_answer_is_not_given(tmp_path: Path) -> None:
    assert differ(tmp_path, [0.0] * 5, [1.0] + [0.0] * 4).recovery is None


def test_perplexity_is_weighted_and_gets_no_verdict(tmp_path: Path) -> None:
    base = [[-20.0, 10.0], [-40.0, 10.0]]
    difference = differ(tmp_path, base, [[-22.0, 10.0], [-42.0, 10.0]], kind="perplexity")
    assert difference.base == pytest.approx(np.exp(3.0))
    assert difference.variant == pytest.approx(np.exp(3.2))
    assert difference.low <= difference.difference <= difference.high
    assert difference.verdict is None


def sources_of(documents: int, each: int) -> np.ndarray:
    return np.arange(documents) // each


def test_documents_that_share_a_source_widen_the_interval() -> None:
    pairs = np.array(([[1, 0]] * 5 + [[1, 1]] * 45) * 4 + [[1, 1]] * 200, dtype=float)
    alone = accuracy.paired("task", "acc", pairs, True, Decision())
    shared = accuracy.paired("task", "acc", pairs, True, Decision(), sources_of(400, 5))
    assert shared.sources == 80
    assert shared.high - shared.low > alone.high - alone.low
    assert shared.p_value is not None and alone.p_value is not None and shared.p_value > alone.p_value


def test_group_of_few_subtasks_is_decided_by_its_documents() -> None:
    """As if the two were drawn from more of them, 20,000 documents gave [-.142, +.112] and needed 538,564."""
    losses = np.repeat([0.005, 0.025], 10_000)
    lost = np.concatenate([np.arange(10_000) < 50, np.arange(10_000) < 250])
    pairs = np.stack([np.ones(20_000), 1.0 - lost], axis=1)
    decision = Decision.model_validate({"constraints": {"max_accuracy_drop": 0.05}})
    difference = accuracy.paired("group", "acc", pairs, True, decision)
    assert losses.mean() == pytest.approx(-difference.difference)
    assert (difference.verdict, difference.sources) == ("pass", None)
    assert -0.02 < difference.low < difference.high < -0.01


def test_documents_of_few_sources_ask_for_sources_not_documents() -> None:
    pairs = np.array(([[1, 0]] * 1 + [[1, 1]] * 99) * 30, dtype=float)
    decision = Decision.model_validate({"constraints": {"max_accuracy_drop": 0.05}})
    difference = accuracy.paired("task", "acc", pairs, True, decision, sources_of(3000, 100))
    assert (difference.verdict, difference.sources, difference.documents_needed) == ("inconclusive", 30, None)
    assert difference.sources_needed is not None and 60 < difference.sources_needed < 200


@pytest.mark.parametrize(("low", "high"), [([0.5, 1.0], [0.5, 1.0]), ([0.6, 0.9], [0.5, 0.8])])
def test_two_scores_that_change_alike_are_no_proof(low: list[float], high: list[float]) -> None:
    pairs = np.array([low, high], dtype=float)
    decision = Decision.model_validate({"constraints": {"max_accuracy_drop": 0.02}})
    assert accuracy.paired("task", "f1", pairs, True, decision).verdict == "inconclusive"


def test_scores_without_ends_are_shown_and_give_no_verdict() -> None:
    pairs = np.array([[-3.0, -9.0]] * 50 + [[2.0, 1.0]] * 50)
    difference = accuracy.paired("task", "likelihood_diff", pairs, True, Decision())
    assert difference.verdict == "inconclusive" and difference.documents_needed is None
    assert difference.undecidable == "likelihood_diff has no known range of a document's value"


def test_sources_that_all_agree_are_no_proof() -> None:
    same = np.array([[1, 1]] * 12 + [[0, 0]] * 8, dtype=float)
    difference = accuracy.paired("task", "acc", same, True, Decision(), sources_of(20, 4))
    assert (difference.verdict, difference.p_value) == ("inconclusive", 1.0)


def test_subtasks_of_a_group_are_one_task_and_no_sources(tmp_path: Path) -> None:
    made = {name: record(tmp_path / name, "acc", values) for name, values in (("a", [1.0, 0.0]), ("b", [1.0, 1.0]))}
    for name, one in made.items():
        (one.files.folder / "task.jsonl").rename(tmp_path / f"{name}.jsonl")
    whole = evaluation_in(tmp_path, dict.fromkeys(made, scored("acc", asked="group")))
    group = answers.read([whole], ())
    (difference,) = accuracy.differences(group, group, Decision(), seed=1)
    assert (difference.task, difference.documents, difference.sources) == ("group", 4, None)


def test_named_field_of_the_documents_is_their_source(tmp_path: Path) -> None:
    one = record(tmp_path / "one", "acc", [1.0, 0.0, 1.0, 1.0])
    samples = one.files.folder / "task.jsonl"
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    lines = (json.dumps({**row, "doc": {"passage": row["doc_id"] // 2}}) + "\n" for row in rows)
    samples.write_text("".join(lines))
    tasks = answers.read([one], [Task(name="task", cluster="passage")])
    assert sorted(set(tasks["task"].sources.values())) == ["0", "1"]


def test_mean_over_tasks_covers_at_its_rate() -> None:
    random, covered = np.random.default_rng(2), 0
    for _ in range(300):
        differences = []
        for lost in (0.12, 0.06):
            weights = [0.5, 0.5 - lost - 0.05, lost, 0.05]
            pairs = random.choice([[1, 1], [0, 0], [1, 0], [0, 1]], p=weights, size=300).astype(float)
            differences.append(accuracy.paired("task", "acc", pairs, True, Decision()))
        whole = accuracy.over_tasks(differences)
        assert whole is not None
        covered += whole.low <= (-0.07 - 0.01) / 2 <= whole.high
    assert 276 <= covered <= 297


def test_mean_over_tasks_is_judged_by_the_recovery_of_the_mean(tmp_path: Path) -> None:
    """As cards of compressed models do it: a task that loses beyond 97 % beside one that gains, 98.75 % of the mean."""
    loses, gains = [1.0] * 6000 + [0.0] * 4000, [1.0] * 2000 + [0.0] * 8000
    sides = [(loses, [0.0] * 400 + loses[400:]), (gains, gains[:2000] + [1.0] * 300 + gains[2300:])]
    tasks = [differ(tmp_path / str(n), *side, task={"recovery": 97}) for n, side in enumerate(sides)]
    whole = accuracy.over_tasks(tasks)
    assert [task.verdict for task in tasks] == ["fail", "pass"]
    assert whole is not None and (whole.difference, whole.verdict) == (pytest.approx(-0.005), "pass")
    stricter = accuracy.over_tasks([replace(task, min_recovery=0.9975) for task in tasks])
    assert stricter is not None and stricter.verdict == "fail"


def test_perplexity_with_a_recovery_is_in_no_mean(tmp_path: Path) -> None:
    same = [1.0] * 600 + [0.0] * 400
    text = differ(tmp_path / "text", [[-30.0, 10.0]] * 200, [[-30.1, 10.0]] * 200, "perplexity", {"recovery": 98})
    assert text.verdict is not None
    assert accuracy.over_tasks([differ(tmp_path / "acc", same, same), text]) is None


@pytest.mark.parametrize(
    ("base", "variant", "documents"),
    [(0.6322, 0.6311, 14042), (0.8136, 0.8106, 2376), (0.5741, 0.5734, 10042), (0.7874, 0.7893, 541)],
    ids=["mmlu", "arc_easy", "hellaswag", "ifeval"],
)
def test_published_accuracies_show_no_difference_even_unpaired(base: float, variant: float, documents: int) -> None:
    """Red Hat's notebook workflow, Llama-3.1-8B-Instruct against its INT8 form. Only totals are published:
    answers are put on documents at random, which pairs nothing."""
    random = np.random.default_rng(0)
    columns = [random.permutation(documents) < round(rate * documents) for rate in (base, variant)]
    difference = accuracy.paired("task", "acc", np.stack(columns, axis=1).astype(float), True, Decision())
    assert difference.difference == pytest.approx(variant - base, abs=1 / documents)
    assert difference.low < 0 < difference.high
    assert difference.p_value is not None and difference.p_value > 0.05


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ({}, "fail"),
        ({"margin": 10}, "pass"),
        ({"margin": 2}, "fail"),
        ({"recovery": 80}, "pass"),
        ({"recovery": 93}, "inconclusive"),
        ({"recovery": 99}, "fail"),
    ],
)
def test_task_is_judged_by_its_own_margin_or_recovery(tmp_path: Path, settings: dict[str, Any], verdict: str) -> None:
    base = [1.0] * 800 + [0.0] * 200
    difference = differ(tmp_path, base, [0.0] * 60 + base[60:], task=settings, constraints={"max_accuracy_drop": 0.03})
    assert difference.verdict == verdict
    assert (difference.margin is None) == ("recovery" in settings)


def test_margin_and_recovery_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has a margin and a recovery; give one of them"):
        Task(name="task", margin=1, recovery=99)


def test_group_whose_subtasks_have_other_metrics_is_refused(tmp_path: Path) -> None:
    tasks = {name: scored(name, asked="group") for name in ("acc", "exact_match")}
    for name in tasks:
        (tmp_path / f"{name}.jsonl").write_text("")
    whole = evaluation_in(tmp_path, tasks)
    with pytest.raises(UserError, match=r"'group' has subtasks with metrics of their own"):
        answers.read([whole], ())


def test_subtasks_that_count_alike_do_so_whatever_their_sizes(tmp_path: Path) -> None:
    sides = []
    for side, right in (("base", 1.0), ("variant", 0.0)):
        made = {"large": [1.0] * 90, "small": [right] * 10}
        for name, values in made.items():
            one = record(tmp_path / side / name, "acc", values)
            (one.files.folder / "task.jsonl").rename(tmp_path / side / f"{name}.jsonl")
        tasks = dict.fromkeys(made, scored("acc", asked="group", alike=True))
        sides.append(evaluation_in(tmp_path / side, tasks))
    base, variant = (answers.read([side], ()) for side in sides)
    (difference,) = accuracy.differences(variant, base, Decision(), seed=1)
    assert (difference.base, difference.variant) == pytest.approx((1.0, 0.5))
    assert answers.overall(variant) == {"group.acc": pytest.approx(0.5)}
