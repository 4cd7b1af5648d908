"""Metrics of all documents together: the same figures as their libraries', and intervals that cover."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef
from tests_support import differ

from configs.decision import Decision
from flows.analysis import accuracy, corpus_metrics
from flows.analysis.answers import TaskAnswers


def test_perplexity_is_judged_where_a_recovery_is_asked_for(tmp_path: Path) -> None:
    base = [[-20.0 - i % 3, 10.0] for i in range(200)]
    worse = [[value - 1.0, weight] for value, weight in base]
    assert differ(tmp_path / "a", base, base, "perplexity", {"recovery": 99}).verdict == "pass"
    difference = differ(tmp_path / "b", base, worse, "perplexity", {"recovery": 99})
    assert (difference.verdict, difference.recovery) == ("fail", pytest.approx(np.exp(-0.1)))


def test_matthews_correlation_of_opposite_answers_falls_from_1_to_minus_1(tmp_path: Path) -> None:
    base, opposite = ([[i % 2, (i + wrong) % 2] for i in range(200)] for wrong in (0, 1))
    difference = differ(tmp_path, base, opposite, "mcc")
    assert (difference.base, difference.variant, difference.lost, difference.verdict) == (
        pytest.approx(1),
        pytest.approx(-1),
        200,
        "fail",
    )


def test_classes_in_several_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(4)
    right, answered = random.integers(0, 3, 200), random.integers(0, 3, 200)
    pairs = [((int(a), int(b)), (int(a), int(b))) for a, b in zip(right, answered, strict=True)]
    expected = {"weighted_f1": f1_score(right, answered, average="weighted"), "mcc": matthews_corrcoef(right, answered)}
    for kind, value in expected.items():
        assert corpus_metrics.value_of(kind, corpus_metrics.sums_of(kind, pairs)[0].sum(0)) == pytest.approx(value)  # type: ignore[arg-type]


def test_interval_of_a_recomputed_metric_covers_at_its_rate() -> None:
    """F1 of class 1 where the baseline is right in 80 % and the variant in 72 %, each by itself."""
    random, covered, decision = np.random.default_rng(5), 0, Decision()
    truth = 0.72 - 0.8
    for _ in range(100):
        right = random.integers(0, 2, 300)
        sides = [np.where(random.random(300) < rate, right, 1 - right) for rate in (0.8, 0.72)]
        tasks = [
            TaskAnswers(
                "f1",
                True,
                {str(i): [int(a), int(b)] for i, (a, b) in enumerate(zip(right, side, strict=True))},
                {},
                kind="f1",
            )
            for side in sides
        ]
        (difference,) = accuracy.differences({"t": tasks[1]}, {"t": tasks[0]}, decision, seed=1)
        covered += difference.low <= truth <= difference.high
    assert covered >= 89, "95 % of 100, less three standard errors"


def test_rare_loss_at_the_margin_passes_a_recomputed_metric_as_rarely_as_said() -> None:
    """F1 of a class of 20 of 100 documents, one in 25 of whose answers turns wrong: a plain bootstrap passed 11 %."""
    random, passed, truth = np.random.default_rng(5), 0, -0.04995
    for seed in range(200):
        right = random.random(100) < 0.2
        base = right ^ (random.random(100) < 0.15)
        variant = base ^ (random.random(100) < np.where(base == right, 0.04, 0.02))
        sums = np.stack([np.eye(4)[2 * right + side] for side in (base, variant)])
        passed += corpus_metrics.resampled("f1", sums, None, seed).difference(0.95)[0] > truth
    assert passed <= 200 * 0.025 + 3 * np.sqrt(200 * 0.025 * 0.975)


def test_few_documents_that_agree_on_a_recomputed_metric_are_no_proof(tmp_path: Path) -> None:
    same = [[i % 2, i % 2] for i in range(20)]
    difference = differ(tmp_path, same, same, "f1", constraints={"max_accuracy_drop": 0.02})
    assert (difference.difference, difference.verdict) == (0.0, "inconclusive")
    assert (
        difference.undecidable
        == "f1 is judged only from 100 documents or sources on, where its interval is known to cover"
    )
    beyond = [[i % 2, (i + 1) % 2] for i in range(20)]
    assert differ(tmp_path / "opposite", same, beyond, "f1").verdict == "inconclusive"


def test_mean_over_tasks_turns_a_metric_of_which_less_is_better(tmp_path: Path) -> None:
    same = [1.0] * 600 + [0.0] * 400
    worse = differ(tmp_path / "ter", [[2.0, 10.0]] * 500, [[4.0, 10.0]] * 500, "ter")
    whole = accuracy.over_tasks([differ(tmp_path / "acc", same, same), worse])
    assert worse.difference == pytest.approx(20) and worse.verdict == "fail"
    assert whole is not None and (whole.difference, whole.verdict) == (pytest.approx(-0.1), "fail")
