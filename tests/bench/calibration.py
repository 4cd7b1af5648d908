"""How often the accuracy judgement is right, by simulation on real per-document logs.

Takes two evaluations of the same documents (`TASK.jsonl` beside their records). Documents are drawn with
replacement; swapping the two sides of each at random makes an A/A comparison with the real rate of flips
and no difference. A drop is planted by turning right answers of one side wrong at random. A race (configs/racing.py)
that looks at a variant again and again must not stop one whose drop is within the margin of 2 points more often than
its error rate says.

    PYTHON tests/bench/calibration.py BASE/TASK.jsonl VARIANT/TASK.jsonl
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from configs.decision import Decision
from configs.racing import Racing
from flows.accuracy import Answers, TaskAnswers, paired
from flows.judgement import Difference
from flows.racing import Look, at_every_look, beyond_margin

DECISION = Decision.model_validate({"constraints": {"max_accuracy_drop": 0.02}})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("base", type=Path)
    parser.add_argument("variant", type=Path)
    parser.add_argument("--metric", default="acc")
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--documents", type=int, help="how many to draw; as many as there are unless given")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    base, variant = (_values(path, options.metric) for path in (options.base, options.variant))
    pairs = np.array([[base[key], variant[key]] for key in base if key in variant])
    random = np.random.default_rng(options.seed)
    flips = float((pairs[:, 0] != pairs[:, 1]).mean())
    count = options.documents or len(pairs)
    print(f"{count} documents of {len(pairs)}, {100 * flips:.1f} % differ, {options.comparisons} comparisons each")
    for drop in (0.0, 0.01, 0.02):
        drawn = [_drawn(pairs, count, drop, random) for _ in range(options.comparisons)]
        found = [paired("task", options.metric, one, True, DECISION) for one in drawn]
        shares = [*_shares(found, drop), ("stopped in a race", float(np.mean([_stopped(one) for one in drawn])))]
        told = ", ".join(f"{words} {100 * share:.1f} %" for words, share in shares)
        print(f"drop {100 * drop:.0f} points: {told}")


def _shares(found: list[Difference], drop: float) -> list[tuple[str, float]]:
    """How often, in words and as a share."""
    return [
        ("interval below 0", np.mean([f.high < 0 for f in found])),
        ("interval covers the truth", np.mean([f.low <= -drop <= f.high for f in found])),
        ("McNemar p < 0.05", np.mean([f.p_value is not None and f.p_value < 0.05 for f in found])),
        *(
            (f"verdict {word}", np.mean([f.verdict == word for f in found]))
            for word in ("pass", "inconclusive", "fail")
        ),
    ]


def _stopped(drawn: np.ndarray) -> bool:
    """Whether a race stops this variant at one of its looks."""
    racing = Racing()
    wide = at_every_look(DECISION, racing.error_rate, looks=len(racing.looks))
    seen = (drawn[: round(share * len(drawn))] for share in racing.looks)
    return any(beyond_margin(Look(_answers(part[:, 1]), _answers(part[:, 0]), ()), wide) for part in seen)


def _answers(right: np.ndarray) -> Answers:
    return {"task": TaskAnswers("acc", True, {str(i): float(v) for i, v in enumerate(right)}, {})}


def _values(path: Path, metric: str) -> dict[str, float]:
    with path.open() as file:
        return {f"{row['doc_id']}/{row['doc_hash']}": float(row[metric]) for row in map(json.loads, file)}


def _drawn(pairs: np.ndarray, count: int, drop: float, random: np.random.Generator) -> np.ndarray:
    drawn = pairs[random.integers(0, len(pairs), count)].copy()
    swapped = random.random(len(drawn)) < 0.5
    drawn[swapped] = drawn[swapped][:, ::-1]
    right = drawn[:, 1] == 1.0
    drawn[right & (random.random(len(drawn)) < drop / pairs.mean()), 1] = 0.0
    return drawn


if __name__ == "__main__":
    main()
