"""How often verdict, lead and decision are right, by simulation.

Of the accuracy judgement on real per-document logs: takes two evaluations of the same documents (`TASK.jsonl`
beside their records). Documents are drawn with
replacement; swapping the two sides of each at random makes an A/A comparison with the real rate of flips
and no difference. A drop is planted by turning right answers of one side wrong at random. A race (configs/racing.py)
that looks at a variant again and again must not stop one whose drop is within the margin of 2 points more often than
its error rate says.

    PYTHON tests/bench/calibration.py BASE/TASK.jsonl VARIANT/TASK.jsonl

Of the decision over many variants, without any log: repeats whose throughputs vary by 5 % independently, one base for
all variants. All are as fast as the baseline, or exactly as much faster as the smallest gain, where it errs most; or
one of them is faster by 10 %. Then verdicts over 2,376 documents of variants whose loss is the margin, with 8 % flips.

    PYTHON tests/bench/calibration.py --variants 1 13 100 --repeats 3 5 10

Of intervals and races, on simulated documents whose truth is known (`accuracy_simulated.py`).

    PYTHON tests/bench/calibration.py --accuracy
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import accuracy_simulated

from configs.decision import Decision
from configs.racing import Racing
from flows.analysis.accuracy import Answers, TaskAnswers, paired
from flows.analysis.decide import decide
from flows.analysis.early_stopping import Look, at_every_look, beyond_margin
from flows.analysis.judgement import Difference, Judged
from flows.analysis.leads import of_pairs
from flows.analysis.performance import estimate

DECISION = Decision.model_validate({"constraints": {"max_accuracy_drop": 0.02}})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("logs", type=Path, nargs="*", help="of the base and of a variant")
    parser.add_argument("--metric", default="acc")
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--documents", type=int, help="how many to draw; as many as there are unless given")
    parser.add_argument("--variants", type=int, nargs="*", default=[], help="simulate decisions over so many")
    parser.add_argument("--repeats", type=int, nargs="*", default=[3, 5])
    parser.add_argument("--accuracy", action="store_true", help="simulate documents and their intervals")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.accuracy:
        _accuracy(options.comparisons, np.random.default_rng(options.seed))
    if options.logs:
        _on_logs(options)
    random = np.random.default_rng(options.seed)
    for variants in options.variants:
        for repeats in options.repeats:
            _decisions(variants, repeats, options.comparisons, random)
        _verdicts(variants, options.comparisons // 5, random)


def _accuracy(experiments: int, random: np.random.Generator) -> None:
    """Two tables: of intervals, and of races."""
    print("| what | documents | covers | passes at the margin | reach |\n| --- | --- | --- | --- | --- |")
    for line in accuracy_simulated.lines(experiments, random):
        print(line, flush=True)
    print("\n| what | documents | stopped at the margin |\n| --- | --- | --- |")
    for words in accuracy_simulated.races(20 * experiments, random):
        print(words, flush=True)


def _decisions(variants: int, repeats: int, comparisons: int, random: np.random.Generator) -> None:
    """A line of how often which answer is given."""
    gain = 1 + DECISION.min_gain
    ratios = {"all equal": np.ones(variants), "all at the smallest gain": np.full(variants, gain)}
    ratios["one 10 % faster"] = np.append(1.10, np.ones(variants - 1))
    for words, truth in ratios.items():
        answers = [_decided(truth, repeats, random) for _ in range(comparisons)]
        shares = (f"{answer} {100 * answers.count(answer) / comparisons:.1f} %" for answer in sorted(set(answers)))
        print(f"{variants} variants, {repeats} repeats, {words}: {', '.join(shares)}")


def _decided(truth: np.ndarray, repeats: int, random: np.random.Generator) -> str:
    """The answer; a wrong one where a variant is deployed whose gain is not above the smallest."""
    base, *speeds = (ratio * random.normal(100, 5, repeats) for ratio in (1.0, *truth))
    variants = [_judged(str(number), speed, base, len(truth)) for number, speed in enumerate(speeds)]
    found = decide([_judged("base", base, base, len(truth)), *variants], DECISION, {})
    deployed = found.answer == "deploy" and found.recommended is not None
    wrong = deployed and truth[int(found.recommended or 0)] <= 1 + DECISION.min_gain
    return "deploy wrongly" if wrong else found.answer


def _judged(name: str, speeds: np.ndarray, base: np.ndarray, variants: int) -> Judged:
    """A variant that passes, with nothing but its throughputs."""
    lead = of_pairs(list(zip(speeds.tolist(), base.tolist(), strict=True)), 1, DECISION, variants)
    objective = estimate(speeds.tolist(), DECISION.confidence)
    return Judged(name, 1, (), None, (), objective, lead, None, (), None, "pass", (), {})


def _verdicts(variants: int, comparisons: int, random: np.random.Generator) -> None:
    """A line of how often some variant passes of which none should, documents flipping independently."""
    decision, margin, flips = DECISION.over(max(2, variants)), DECISION.constraints.max_accuracy_drop, 0.08
    shares, passed = ((flips + margin) / 2, (flips - margin) / 2, 0.6, 0.4 - flips), 0
    pairs = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], dtype=float)
    for _ in range(comparisons):
        drawn = (pairs[random.choice(4, 2376, p=shares)] for _ in range(variants))
        passed += any(paired("task", "acc", one, True, decision).verdict == "pass" for one in drawn)
    print(f"{variants} variants that lose as much as the margin: some passes {100 * passed / comparisons:.1f} %")


def _on_logs(options: argparse.Namespace) -> None:
    base, variant = (_values(path, options.metric) for path in options.logs)
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
