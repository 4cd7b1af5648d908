"""What racing would have cost and decided, replayed on the records of a sweep that was measured in full.

"$(python3 actors/environments.py path driver)" tests/bench/racing.py EXPERIMENT.yaml --store FOLDER

Documents are drawn with replacement, the same for all variants, and shuffled; then the race is run as
`flows.sweep` runs it, with the stops of `flows.analysis.early_stopping`. The objective is what the sweep measured.

"$(python3 actors/environments.py path driver)" tests/bench/racing.py --skewed 200 1000

How often a race stops a variant that loses exactly the margin, in scores that are rare and large, of so many documents.
"""

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from accuracy_simulated import SKEWED

from configs.decision import Decision
from configs.loading import load_experiment
from configs.racing import Racing
from configs.storage import Storage
from flows.analysis import accuracy, compare
from flows.analysis import answers as answering
from flows.analysis.answers import Answers, TaskAnswers
from flows.analysis.early_stopping import Look, at_every_look, beyond_margin
from flows.cluster import this_machine
from flows.planning import plan
from flows.runtime.context import Run
from flows.runtime.progress import Progress
from flows.store.records import Store

BASE = "base"
Right = dict[str, np.ndarray]
"""Right or wrong by task, document by document in the order of the shuffle."""


@dataclass(frozen=True)
class Sweep:
    """What was measured: right or wrong by variant and document, and who is ahead by the objective."""

    right: dict[str, "Right"]
    order: list[str]
    """By the objective, the best first."""
    tied: set[frozenset[str]]
    """Pairs whose objectives the repeats cannot tell apart."""
    decision: Decision


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("experiment", type=Path, nargs="?")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--skewed", type=int, nargs="+", default=[], help="simulate scores of so many documents")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--looks", type=float, nargs="+", default=list(Racing().looks))
    parser.add_argument("--error-rate", type=float, default=Racing().error_rate)
    options = parser.parse_args()
    racing = Racing(looks=tuple(options.looks), error_rate=options.error_rate)
    for documents in options.skewed:
        stopped_at_the_margin(documents, racing, options.resamples)
    if options.experiment:
        replay(read(options.experiment, options.store), racing, options.resamples)


def stopped_at_the_margin(documents: int, racing: Racing, experiments: int) -> None:
    """A line for each kind of skewed scores."""
    for what, (values, shares) in SKEWED.items():
        change, random, stopped = np.array(values), np.random.default_rng(1), 0
        decision = Decision.model_validate({"constraints": {"max_accuracy_drop": -float(np.dot(values, shares))}})
        wide = at_every_look(decision, racing.error_rate, looks=len(racing.looks))
        for _ in range(experiments):
            drawn = random.choice(change, documents, p=shares)
            base = np.where(drawn > 0, 0.0, 1.0)
            right = {BASE: {"task": base}, "variant": {"task": base + drawn}}
            stopped += any(beyond_margin(look(right, "variant", share), wide) for share in racing.looks)
        rate = f"{100 * stopped / experiments:.2f} % of {experiments}, promised {100 * racing.error_rate:g} %"
        print(f"{what}, {documents} documents: stopped at the margin in {rate}", flush=True)


def replay(sweep: Sweep, racing: Racing, resamples: int) -> None:
    """A line of how often the race has the winner of measuring everything, and of what it spends."""
    random = np.random.default_rng(1)
    outcomes: Counter[str] = Counter()
    spent = []
    for _ in range(resamples):
        drawn = {task: random.integers(0, len(values), len(values)) for task, values in sweep.right[BASE].items()}
        right = {name: {task: own[task][drawn[task]] for task in drawn} for name, own in sweep.right.items()}
        full = exhaustive(sweep, right)
        winner, documents = raced(sweep, right, racing)
        tied = frozenset((full, winner)) in sweep.tied
        outcomes["same" if winner == full else "tied" if tied else "other"] += 1
        spent.append(documents / (len(right) * upto(right[BASE], 1.0)))
    same = 100 * (outcomes["same"] + outcomes["tied"]) / resamples
    print(
        f"{len(sweep.right)} variants, {upto(sweep.right[BASE], 1.0)} documents, looks {list(racing.looks)}, error "
        f"rate {racing.error_rate:g}: same or tied winner {same:.1f} % of {resamples} ({dict(outcomes)}), "
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
        found = answering.read(records, experiment.accuracy.tasks)
        judged = {t: a for t, a in found.items() if a.means}
        right[name] = {t: np.array([value for _, value in sorted(a.values.items())]) for t, a in judged.items()}
    return Sweep(right, order, tied, experiment.decision)


def exhaustive(sweep: Sweep, right: dict[str, Right]) -> str:
    """The best by the objective that passes on all documents; the base where none does."""
    return next(name for name in sweep.order if name == BASE or passes(sweep.decision, right, name))


def raced(sweep: Sweep, right: dict[str, Right], racing: Racing) -> tuple[str, int]:
    """The winner of a race, and how many answers it took; the base answers everything."""
    first, *later = racing.looks
    wide = at_every_look(sweep.decision, racing.error_rate, looks=len(racing.looks))
    reached = {name: first for name in sweep.order} | {BASE: 1.0}
    alive = [n for n in sweep.order if n == BASE or not beyond_margin(look(right, n, first), wide)]
    winner = BASE
    for name in alive:
        if name == BASE:
            break
        for share in later:
            reached[name] = share
            if beyond_margin(look(right, name, share), wide):
                break
        else:
            reached[name] = 1.0
            if passes(sweep.decision, right, name):
                winner = name
                break
    return winner, sum(upto(right[name], share) for name, share in reached.items())


def upto(right: Right, share: float) -> int:
    """Documents up to a share of every task's."""
    return sum(round(share * len(values)) for values in right.values())


def look(right: dict[str, Right], name: str, share: float) -> Look:
    return Look(answers(right[name], share), answers(right[BASE], share), ())


def answers(right: Right, share: float = 1.0) -> Answers:
    upto = {task: values[: round(share * len(values))] for task, values in right.items()}
    return {t: TaskAnswers("acc", True, {str(i): float(v) for i, v in enumerate(part)}, {}) for t, part in upto.items()}


def passes(decision: Decision, right: dict[str, Right], name: str) -> bool:
    found = accuracy.differences(answers(right[name]), answers(right[BASE]), decision, seed=0)
    return all(difference.verdict == "pass" for difference in found)


if __name__ == "__main__":
    main()
