"""What racing would have cost and decided, replayed on the records of a sweep that was measured in full.

"$(python3 actors/environments.py path driver)" tests/bench/racing.py EXPERIMENT.yaml --store FOLDER

Documents are drawn with replacement, the same for all variants, and shuffled. So is the load: the repeats of a variant,
each with the baseline's beside it (whole starts, where there are several), as another run might have measured them. Who
stands where is then judged as `flows.analysis.compare` judges it, and the race is run as `flows.sweep` runs it, with
the stops of `flows.analysis.early_stopping`. Race and measuring everything see the same documents and the same load.

"$(python3 actors/environments.py path driver)" tests/bench/racing.py --skewed 200 1000

How often a race stops a variant that loses exactly the margin, in scores that are rare and large, of so many documents.
"""

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from accuracy_simulated import SKEWED

from configs.decision import Decision
from configs.loading import load_experiment
from configs.racing import Racing
from configs.storage import Storage
from flows.analysis import accuracy, compare, performance
from flows.analysis import answers as answering
from flows.analysis.answers import Answers, TaskAnswers
from flows.analysis.decide import rival_of, standing
from flows.analysis.early_stopping import Look, at_every_look, beyond_margin
from flows.analysis.judgement import Judged
from flows.analysis.measured import Measured, base_under_load, spread_among, under_load
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
    """What was measured: right or wrong by variant and document, and the load."""

    right: dict[str, "Right"]
    measured: dict[str, Measured]
    """The baseline first."""
    decision: Decision


@dataclass(frozen=True)
class Standings:
    """Who is ahead by the objective."""

    order: list[str]
    """The best first."""
    tied: set[frozenset[str]]
    """Pairs whose objectives the repeats cannot tell apart."""

    @classmethod
    def of(cls, measured: dict[str, Measured], decision: Decision) -> "Standings":
        base, *variants = measured.values()
        spread = spread_among(variants, base if base.base else None)
        judged = [base_under_load(base, decision, spread)]
        judged += [under_load(one, base.size_bytes, decision, len(variants), spread) for one in variants]
        rival = rival_of(judged[0])
        ahead = sorted((one for one in judged if one.objective), key=lambda one: standing(one, rival, decision))
        return cls(
            [one.name for one in ahead], {frozenset((a.name, b.name)) for a in ahead for b in ahead if _tied(a, b)}
        )


def _tied(one: Judged, other: Judged) -> bool:
    a, b = one.objective, other.objective
    if one is other or not (a and b and a.low and a.high and b.low and b.high):
        return False
    return a.low <= b.high and b.low <= a.high


def drawn_anew(one: Measured, decision: Decision, random: np.random.Generator) -> Measured:
    """The same variant, as another run might have measured its load: with as many of its repeats, or starts, drawn with
    replacement. Which points of the load count stays as it was."""
    starts = one.starts or tuple(range(len(one.sweeps)))
    known = sorted(set(starts))
    drawn = random.choice(known, len(known))
    chosen = [(n, place) for n, start in enumerate(drawn) for place, of in enumerate(starts) if of == start]
    sweeps = [one.sweeps[place] for _, place in chosen]
    return replace(
        one,
        sweeps=sweeps,
        base=[one.base[place] for _, place in chosen] if one.base else [],
        starts=tuple(float(n) for n, _ in chosen) if one.starts else (),
        objective=performance.objective(sweeps, one.points, one.size_bytes, decision),
    )


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
        loss = max(0.0, -float(np.dot(values, shares)))  # of changes that cancel, a sum is a hair off 0
        decision = Decision.model_validate({"constraints": {"max_accuracy_drop": loss}})
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
    leaders: Counter[str] = Counter()
    spent = []
    for _ in range(resamples):
        drawn = {task: random.integers(0, len(values), len(values)) for task, values in sweep.right[BASE].items()}
        right = {name: {task: own[task][drawn[task]] for task in drawn} for name, own in sweep.right.items()}
        load = {name: drawn_anew(one, sweep.decision, random) for name, one in sweep.measured.items()}
        standings = Standings.of(load, sweep.decision)
        full = exhaustive(sweep.decision, standings.order, right)
        leaders[full] += 1
        winner, documents = raced(sweep.decision, standings.order, right, racing)
        tied = frozenset((full, winner)) in standings.tied
        outcomes["same" if winner == full else "tied" if tied else "other"] += 1
        spent.append(documents / (len(right) * upto(right[BASE], 1.0)))
    same = 100 * (outcomes["same"] + outcomes["tied"]) / resamples
    print(
        f"{len(sweep.right)} variants, {upto(sweep.right[BASE], 1.0)} documents, looks {list(racing.looks)}, error "
        f"rate {racing.error_rate:g}: same or tied winner {same:.1f} % of {resamples} ({dict(outcomes)}; of measuring "
        f"everything {dict(leaders.most_common())}), "
        f"{100 * np.mean(spent):.1f} % of the document evaluations (at most {100 * max(spent):.1f} %)"
    )


def read(file: Path, root: Path) -> Sweep:
    """The judgement of a finished sweep, and every document's result."""
    experiment = load_experiment(file, [f"storage.root={root.resolve()}"])
    run = Run.of(plan.make(experiment, this_machine(experiment)), Store.of(Storage(root=root)), Progress(), root)
    judgement = compare.judge(run.evidence)
    right, measured = {}, {}
    for name in (one.name for one in judgement.judged if one.objective):
        measured[name] = Measured.of(run.outcomes[name], experiment, next(iter(experiment.loads)))
        records = [record for record in run.outcomes[name].evaluations if record]
        found = answering.read(records, experiment.accuracy.tasks)
        judged = {t: a for t, a in found.items() if a.means}
        right[name] = {t: np.array([value for _, value in sorted(a.values.items())]) for t, a in judged.items()}
    return Sweep(right, measured, experiment.decision)


def exhaustive(decision: Decision, order: list[str], right: dict[str, Right]) -> str:
    """The best by the objective that passes on all documents; the baseline where none does."""
    return next(name for name in order if name == BASE or passes(decision, right, name))


def raced(decision: Decision, order: list[str], right: dict[str, Right], racing: Racing) -> tuple[str, int]:
    """The winner of a race, and how many answers it took; the baseline answers everything."""
    first, *later = racing.looks
    wide = at_every_look(decision, racing.error_rate, looks=len(racing.looks))
    reached = {name: first for name in order} | {BASE: 1.0}
    alive = [n for n in order if n == BASE or not beyond_margin(look(right, n, first), wide)]
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
            if passes(decision, right, name):
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
