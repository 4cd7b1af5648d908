"""What racing would have cost and decided, replayed on the records of a sweep that was measured in full.

"$(python3 actors/environments.py path driver)" tests/bench/racing.py EXPERIMENT.yaml --store FOLDER

Documents are drawn with replacement, the same for all variants, and shuffled; then the race is run as
`flows.sweep` runs it, with the stops of `flows.racing`. The objective is what the sweep measured.
"""

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from configs.decision import Decision
from configs.loading import load_experiment
from configs.racing import Racing
from configs.storage import Storage
from flows import accuracy, compare, plan
from flows.accuracy import Answers, TaskAnswers
from flows.cluster import this_machine
from flows.context import Run
from flows.progress import Progress
from flows.racing import Look, at_every_look, beyond_margin
from flows.records import Store

BASE = "base"


@dataclass(frozen=True)
class Sweep:
    """What was measured: right or wrong by variant and document, and who is ahead by the objective."""

    right: dict[str, np.ndarray]
    order: list[str]
    """By the objective, the best first."""
    tied: set[frozenset[str]]
    """Pairs whose objectives the repeats cannot tell apart."""
    decision: Decision


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--looks", type=float, nargs="+", default=list(Racing().looks))
    parser.add_argument("--error-rate", type=float, default=Racing().error_rate)
    options = parser.parse_args()
    sweep = read(options.experiment, options.store)
    racing = Racing(looks=tuple(options.looks), error_rate=options.error_rate)
    random = np.random.default_rng(1)
    outcomes: Counter[str] = Counter()
    spent = []
    for _ in range(options.resamples):
        drawn = random.integers(0, len(sweep.right[BASE]), len(sweep.right[BASE]))
        right = {name: values[drawn] for name, values in sweep.right.items()}
        full = exhaustive(sweep, right)
        winner, documents = raced(sweep, right, racing)
        tied = frozenset((full, winner)) in sweep.tied
        outcomes["same" if winner == full else "tied" if tied else "other"] += 1
        spent.append(documents / (len(right) * len(drawn)))
    same = 100 * (outcomes["same"] + outcomes["tied"]) / options.resamples
    print(
        f"{len(sweep.right)} variants, {len(sweep.right[BASE])} documents, looks {options.looks}, error rate "
        f"{options.error_rate:g}: same or tied winner {same:.1f} % of {options.resamples} ({dict(outcomes)}), "
        f"{100 * np.mean(spent):.1f} % of the document evaluations (at most {100 * max(spent):.1f} %)"
    )


def read(file: Path, root: Path) -> Sweep:
    """The judgement of a finished sweep, and every document's result."""
    experiment = load_experiment(file, [f"storage.root={root.resolve()}"])
    run = Run.of(plan.make(experiment, this_machine(experiment)), Store.of(Storage(root=root)), Progress(), root)
    judgement = compare.judge(run)
    measured = [v for v in judgement.judged if v.objective]
    order = compare.standings(run, [run.outcomes[v.name] for v in measured])
    spans = {v.name: v.objective for v in measured}
    tied = {
        frozenset((a, b))
        for a, x in spans.items()
        for b, y in spans.items()
        if a != b and x and y and x.low and y.low and x.high and y.high and x.low <= y.high and y.low <= x.high
    }
    right = {}
    for name in order:
        records = [record for record in run.outcomes[name].evaluations if record]
        answers = accuracy.read(records, experiment.accuracy.tasks)
        judged = [task for task in answers.values() if not isinstance(next(iter(task.values.values())), list)]
        right[name] = np.array([value for task in judged for _, value in sorted(task.values.items())])
    return Sweep(right, order, tied, experiment.decision)


def exhaustive(sweep: Sweep, right: dict[str, np.ndarray]) -> str:
    """The best by the objective that passes on all documents; the base where none does."""
    for name in sweep.order:
        if name == BASE or verdict(sweep.decision, right, name) == "pass":
            return name
    return BASE


def raced(sweep: Sweep, right: dict[str, np.ndarray], racing: Racing) -> tuple[str, int]:
    """The winner of a race, and how many answers it took; the base answers everything."""
    count = len(right[BASE])
    ends = [round(look * count) for look in racing.looks]
    wide = at_every_look(sweep.decision, racing.error_rate, looks=len(ends))
    spent, alive = count, []
    for name in (name for name in sweep.order if name != BASE):
        spent += ends[0]
        if not beyond_margin(look(right, name, ends[0]), wide):
            alive.append(name)
    for name in sweep.order:
        if name == BASE:
            return BASE, spent
        if name not in alive:
            continue
        done = ends[0]
        for end in ends[1:]:
            spent, done = spent + end - done, end
            if beyond_margin(look(right, name, end), wide):
                break
        else:
            spent += count - done
            if verdict(sweep.decision, right, name) == "pass":
                return name, spent
    return BASE, spent


def look(right: dict[str, np.ndarray], name: str, count: int) -> Look:
    return Look(answers(right[name][:count]), answers(right[BASE][:count]), ())


def answers(values: np.ndarray) -> Answers:
    return {"task": TaskAnswers("acc", True, {str(i): float(v) for i, v in enumerate(values)}, {})}


def verdict(decision: Decision, right: dict[str, np.ndarray], name: str) -> str | None:
    (found,) = accuracy.differences(answers(right[name]), answers(right[BASE]), decision, seed=0)
    return found.verdict


if __name__ == "__main__":
    main()
