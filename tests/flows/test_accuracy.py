"""The arithmetic of accuracy, against figures that are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.decision import Decision
from flows import accuracy
from flows.judgement import Difference
from flows.records import Record


def record(folder: Path, metric: str, values: list[Any], better: bool = True) -> Record:
    folder.mkdir(parents=True)
    rows = [{"doc_id": i, "doc_hash": str(i), metric: value} for i, value in enumerate(values)]
    (folder / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"metrics": {metric: 0.0}, "higher_is_better": {metric: better}}
    return Record(folder, "evaluate", "v", "f", {}, {"tasks": {"task": task}}, 0.0, 0.0, {})


def differ(tmp_path: Path, base: list[Any], variant: list[Any], metric: str = "acc", **decision: Any) -> Difference:
    asked = Decision.model_validate(decision)
    ours, theirs = record(tmp_path / "v", metric, variant), record(tmp_path / "b", metric, base)
    (found,) = accuracy.differences(accuracy.read(ours), accuracy.read(theirs), asked, seed=1)
    return found


def test_paired_difference_counts_flips_and_tests_them_exactly(tmp_path: Path) -> None:
    found = differ(tmp_path, [1.0] * 60 + [0.0] * 40, [1.0] * 50 + [0.0] * 48 + [1.0] * 2)
    assert (found.base, found.variant, found.lost, found.gained) == (0.6, 0.52, 10, 2)
    assert found.difference == pytest.approx(-0.08)
    assert found.p_value == pytest.approx(2 * sum([1, 12, 66]) / 2**12)
    assert found.recovery == pytest.approx(0.52 / 0.6)


@pytest.mark.parametrize(
    ("lost", "documents", "verdict"), [(0, 1000, "pass"), (80, 1000, "fail"), (3, 60, "inconclusive")]
)
def test_verdict_follows_the_interval_and_the_margin(tmp_path: Path, lost: int, documents: int, verdict: str) -> None:
    base = [1.0] * documents
    found = differ(tmp_path, base, [0.0] * lost + base[lost:], constraints={"max_accuracy_drop": 0.05})
    assert found.verdict == verdict


def test_interval_covers_a_known_difference_at_its_rate(tmp_path: Path) -> None:
    random, covered = np.random.default_rng(7), 0
    for _ in range(200):
        pairs = random.choice([[1, 1], [0, 0], [1, 0], [0, 1]], p=[0.5, 0.3, 0.12, 0.08], size=300).astype(float)
        found = accuracy.paired("task", "acc", pairs, True, Decision())
        covered += found.low <= -0.04 <= found.high
    assert 182 <= covered <= 198


def test_interval_covers_where_few_documents_differ() -> None:
    random, covered = np.random.default_rng(7), 0
    for _ in range(400):
        pairs = random.choice([[1, 1], [0, 0], [1, 0], [0, 1]], p=[0.6, 0.36, 0.03, 0.01], size=60).astype(float)
        found = accuracy.paired("task", "acc", pairs, True, Decision())
        covered += found.low <= -0.02 <= found.high
    assert covered >= 374


def test_few_documents_that_all_agree_are_no_proof(tmp_path: Path) -> None:
    same = [1.0] * 12 + [0.0] * 8
    found = differ(tmp_path, same, same, constraints={"max_accuracy_drop": 0.02})
    assert found.low < -0.02 < 0.02 < found.high
    assert found.verdict == "inconclusive"


def test_documents_needed_settle_what_is_inconclusive() -> None:
    pairs = np.array([[1, 1]] * 120 + [[0, 0]] * 74 + [[1, 0]] * 3 + [[0, 1]] * 3, dtype=float)
    decision = Decision.model_validate({"constraints": {"max_accuracy_drop": 0.02}})
    found = accuracy.paired("task", "acc", pairs, True, decision)
    assert found.verdict == "inconclusive"
    assert found.documents_needed is not None and found.documents_needed > 200
    times = -(-found.documents_needed // 200)
    assert accuracy.paired("task", "acc", np.tile(pairs, (times, 1)), True, decision).verdict == "pass"


def test_recovery_interval_covers_at_its_rate() -> None:
    random, covered = np.random.default_rng(3), 0
    for _ in range(300):
        pairs = random.choice([[1, 1], [0, 0], [1, 0], [0, 1]], p=[0.5, 0.35, 0.1, 0.05], size=300).astype(float)
        found = accuracy.paired("task", "acc", pairs, True, Decision())
        assert found.recovery_low is not None and found.recovery_high is not None
        covered += found.recovery_low <= 0.55 / 0.6 <= found.recovery_high
    assert 275 <= covered <= 296


def test_recovery_of_a_base_without_a_right_answer_is_not_given(tmp_path: Path) -> None:
    assert differ(tmp_path, [0.0] * 5, [1.0] + [0.0] * 4).recovery is None


def test_perplexity_is_weighted_and_gets_no_verdict(tmp_path: Path) -> None:
    base = [[-20.0, 10.0], [-40.0, 10.0]]
    found = differ(tmp_path, base, [[-22.0, 10.0], [-42.0, 10.0]], metric="word_perplexity")
    assert found.base == pytest.approx(np.exp(3.0))
    assert found.variant == pytest.approx(np.exp(3.2))
    assert found.low <= found.difference <= found.high
    assert found.verdict is None
