"""How often a race over schemes and engine settings ends with the winner of measuring everything, and at what cost.

An experiment is drawn a thousand times: 23 variants and the base, which differ in scheme, KV cache and batch settings
by effects of the size that GPUs show. Its load is drawn turn by turn as in `load_calibration.py`, its documents are the
same for all variants with flips by scheme and KV cache. Measuring everything and the race see the same draws, the race
as far as it gets. Who stands where, who is stopped and what is decided are the project's own
(`flows.analysis.measured`, `flows.analysis.early_stopping`, `flows.analysis.decide`); the order of the race is that of
`flows.sweep.scheduler`.

    "$(python3 actors/environments.py path develop)" tests/bench/search_resampled.py --repeats 4 6 8
"""

import argparse
import sys
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from load_calibration import NOISES, Block, Machine, Noise
from racing import BASE, Right, look, passes, upto

from configs.decision import Decision
from configs.load import ConcurrentLoad
from configs.racing import Racing
from flows.analysis import early_stopping, leads, performance
from flows.analysis.decide import decide, rival_of, standing
from flows.analysis.early_stopping import Field, at_every_look, beyond_margin
from flows.analysis.judgement import Judged, Judgement
from flows.analysis.measured import Measured, base_under_load, spread_among, under_load

SCHEMES = {BASE: (1.0, 0.0), "fp8": (1.34, 0.001), "int8": (1.25, 0.004), "int4": (1.28, 0.035)}
"""Times the base's tokens/s, and the share of answers that are lost."""
KV = {"auto": (1.0, 0.0), "fp8": (1.04, 0.001)}
BATCHES = {"8192": 1.0, "16384": 2.12, "32768": 3.05}
"""Of the whole GPU, by the largest step of the engine: +112 and +205 %."""
_COSTS = ("starts", "repeats", "documents", "seconds")
FLIPS = 0.03
"""Share of answers that a scheme, or an FP8 KV cache, turns in both directions beside what it loses."""
DOCUMENTS = 10_042
"""As many as hellaswag has."""
DECISION = Decision.model_validate({"constraints": {"max_accuracy_drop": 0.02}})
POINT = {"asked": 64.0, "unit": "streams", "requests": 2000, "errors": 0, "seconds": 60.0, "client_share": 0.1}
START_S, PASSES, POINTS, POINT_S, PASS_S, QUANTIZE_S = 75.0, 2, 3, 71.8, 4.8, 140.0
"""What `flows.planning.history` assumes of a GPU, for three points of 60 s and 10 s of warming up."""
DOCUMENTS_PER_S, EVALUATION_S = 130.0, 25.0


@dataclass(frozen=True)
class Way:
    """A variant: what it is made of, how it is served, and how fast it is in truth."""

    name: str
    answers: str
    """Whose answers it gives: batches change none."""
    truth: float


def ways() -> list[Way]:
    """Every combination, the base as it is served first."""
    found = []
    for (scheme, (speed, _)), (kv, (of_kv, _)), (batch, of_batch) in product(
        SCHEMES.items(), KV.items(), BATCHES.items()
    ):
        found.append(Way(f"{scheme}-kv{kv}-{batch}", f"{scheme}-{kv}", speed * of_kv * of_batch))
    return [Way(BASE, f"{BASE}-auto", 1.0), *found[1:]]


@dataclass
class Spent:
    """What was measured."""

    starts: int = 0
    """Of engines, the base's beside each variant's counted."""
    repeats: int = 0
    """Of a load, each a turn of the variant and one of the base."""
    documents: int = 0
    schemes: set[str] = field(default_factory=set)
    evaluations: int = 0

    @property
    def seconds(self) -> float:
        """On one GPU."""
        load = self.repeats * 2 * POINTS * POINT_S + self.starts * (START_S + PASSES * POINTS * PASS_S)
        return (
            load + self.documents / DOCUMENTS_PER_S + self.evaluations * EVALUATION_S + len(self.schemes) * QUANTIZE_S
        )


@dataclass(frozen=True)
class Drawn:
    """One experiment: all that could be measured."""

    ways: dict[str, Way]
    load: ConcurrentLoad
    blocks: dict[str, Block]
    right: dict[str, Right]
    """By whose answers."""
    _measured: dict[tuple[str, int | None, int], Measured] = field(default_factory=dict)
    _beyond: dict[tuple[str, float], bool] = field(default_factory=dict)

    @classmethod
    def anew(cls, load: ConcurrentLoad, noise: Noise, random: np.random.Generator) -> "Drawn":
        machine, all_ways = Machine(noise, random), {way.name: way for way in ways()}
        blocks = {name: Block(machine, way.truth, load, room=False) for name, way in all_ways.items()}
        blocks[BASE].until_enough(1, None)
        for name, block in blocks.items():
            if name != BASE:
                block.until_enough(len(blocks) - 1, blocks[BASE])
        return cls(all_ways, load, blocks, _answers(random))

    def measured(self, name: str, starts: int | None, looks: int) -> Measured:
        """A variant after so many starts, or after all."""
        key = (name, starts, looks)
        if key not in self._measured:
            self._measured[key] = self._read(*key)
        return self._measured[key]

    def _read(self, name: str, starts: int | None, looks: int) -> Measured:
        block = self.blocks[name]
        count = len(block.pairs) if starts is None else sum(start < starts for start in block.starts)
        ours, base = (
            [[{**POINT, "output_tokens_per_second": 1000 * pair[side]}] for pair in block.pairs[:count]]
            for side in (0, 1)
        )
        points = performance.points(ours, DECISION)
        objective = performance.objective(ours, points, 1, DECISION)
        return Measured(name, 1, ours, points, objective, {}, base, tuple(block.starts[:count]), looks)

    def passes(self, name: str) -> bool:
        """Whether its accuracy does, on all documents and for all variants at once."""
        wide = DECISION.over(len(self.ways) - 1)
        return passes(wide, {name: self._right(name), BASE: self._right(BASE)}, name)

    def is_beyond(self, name: str, share: float, racing: Racing) -> bool:
        """Whether a look stops it."""
        wide, key = (
            at_every_look(DECISION, racing.error_rate, looks=len(racing.looks)),
            (self.ways[name].answers, share),
        )
        if key not in self._beyond:
            seen = look({name: self._right(name), BASE: self._right(BASE)}, name, share)
            self._beyond[key] = bool(beyond_margin(seen, wide))
        return self._beyond[key]

    def _right(self, name: str) -> Right:
        return self.right[self.ways[name].answers]


def _answers(random: np.random.Generator) -> dict[str, Right]:
    base = (random.random(DOCUMENTS) < 0.7).astype(float)
    found = {}
    for (scheme, (_, lost)), (kv, (_, of_kv)) in product(SCHEMES.items(), KV.items()):
        changes = (scheme != BASE) + (kv != "auto")
        turned = random.random(DOCUMENTS) < changes * FLIPS
        answers = np.where(turned, (random.random(DOCUMENTS) < 0.7).astype(float), base)
        answers = np.where(random.random(DOCUMENTS) < (lost + of_kv) / 0.7, 0.0, answers)
        found[f"{scheme}-{kv}"] = {"task": answers}
    return found


@dataclass
class Search:
    """What is known of an experiment, and what it cost."""

    drawn: Drawn
    looks: int
    starts: dict[str, int | None] = field(default_factory=dict)
    """Engine starts of a variant that were made; None for all."""
    verdicts: dict[str, bool] = field(default_factory=dict)
    """Of those whose answers are all there, whether they pass."""
    shares: dict[str, float] = field(default_factory=dict)
    """Of the documents, by whose answers they are."""

    @property
    def spent(self) -> Spent:
        spent = Spent()
        for name, starts in self.starts.items():
            block = self.drawn.blocks[name]
            made = [start for start in block.starts if starts is None or start < starts]
            spent.repeats += len(made)
            spent.starts += 2 * len(set(made))
            if not name.startswith(BASE):
                spent.schemes.add(name.split("-")[0])
        for whose, share in self.shares.items():
            spent.documents += upto(self.drawn.right[whose], share)
            spent.evaluations += 1 if share in (0.1, 1.0) else 2
        return spent

    def answer(self, name: str, share: float) -> None:
        whose = self.drawn.ways[name].answers
        self.shares[whose] = max(share, self.shares.get(whose, 0.0))

    def field(self) -> tuple[Judged, Field, dict[str, Judged]]:
        """The base, everybody who races, and each by the load."""
        measured = {name: self.drawn.measured(name, starts, self.looks) for name, starts in self.starts.items()}
        base = measured.pop(BASE)
        compared = len(self.drawn.ways) - 1
        spread = spread_among(list(measured.values()), base)
        judged = {name: under_load(one, 1, DECISION, compared, spread) for name, one in measured.items()}
        of_base = replace(base_under_load(base, DECISION, spread), verdict=None)
        return of_base, Field(measured, 1, compared, spread), judged

    def complete(self, judged: dict[str, Judged]) -> list[Judged]:
        return [replace(judged[name], verdict="pass" if ok else "fail") for name, ok in self.verdicts.items()]


def everything(drawn: Drawn) -> tuple[Judgement, Search]:
    """All repeats and documents of every variant."""
    search = Search(drawn, len(drawn.load.looks), dict.fromkeys(drawn.ways), shares=dict.fromkeys(drawn.right, 1.0))
    whose = {way.answers: way.name for way in drawn.ways.values() if way.name != BASE}
    verdicts = {answers: drawn.passes(name) for answers, name in whose.items()}
    search.verdicts = {name: verdicts[way.answers] for name, way in drawn.ways.items() if name != BASE}
    base, _, judged = search.field()
    return decide([base, *search.complete(judged)], DECISION, {}), search


def raced(drawn: Drawn, racing: Racing, verdicts: dict[str, bool]) -> tuple[Judgement, Search]:
    """The race.

    Args:
        verdicts: of all documents, whose answers those of the race are.
    """
    first = racing.looks[0]
    search = Search(drawn, len(drawn.load.looks) + racing.looks_at_load, dict.fromkeys(drawn.ways, racing.starts))
    stopped = {}
    for name in drawn.ways:
        search.answer(name, first)
        if name != BASE and drawn.is_beyond(name, first, racing):
            stopped[name] = "accuracy"
    search.starts[BASE] = None
    search.answer(BASE, 1.0)
    while True:
        base, everybody, judged = search.field()
        complete = [base, *search.complete(judged)]
        waiting = [name for name in judged if name not in search.verdicts and name not in stopped]
        for name in waiting:
            if search.starts[name] is None:
                why = early_stopping.why_not_best(judged[name], complete, DECISION)
            else:
                why = early_stopping.why_behind(judged[name], complete, everybody, DECISION)
            if why:
                stopped[name] = why
        rival = rival_of(base)
        waiting = sorted((n for n in waiting if n not in stopped), key=lambda n: standing(judged[n], rival, DECISION))
        if not waiting:
            return decide(complete, DECISION, dict(stopped), stopped=tuple(_stop(name) for name in stopped)), search
        best = waiting[0]
        if search.starts[best] is not None:
            search.starts[best] = None
            continue
        for share in racing.looks[1:]:
            search.answer(best, share)
            if drawn.is_beyond(best, share, racing):
                stopped[best] = "accuracy"
                break
        else:
            search.answer(best, 1.0)
            search.verdicts[best] = verdicts[best]


def _stop(name: str) -> early_stopping.Stopped:
    return early_stopping.Stopped(name, "not best", "", 0, (), 0.0)


def _tied(search: Search, one: str, other: str) -> bool:
    """Whether measuring everything does not tell two apart, at an uncorrected confidence of 95 %."""
    if BASE in (one, other):
        return False
    _, everybody, _ = search.field()
    a, b = (everybody.in_turn(name, DECISION) for name in (one, other))
    alone = replace(a[0], looks=1), replace(b[0], looks=1)
    sides = (alone[0], a[1]), (alone[1], b[1])
    two_sided = DECISION.model_copy(update={"confidence": 0.975})
    return not any(leads.behind(x, y, two_sided, 1, everybody.spread) for x, y in (sides, sides[::-1]))


def line(load: ConcurrentLoad, racing: Racing, noise: Noise, experiments: int, seed: int) -> str:
    """A row of the table."""
    random = np.random.default_rng(seed)
    same = alike = right = wrong = 0
    regret: list[float] = []
    costs: list[list[float]] = []
    for _ in range(experiments):
        drawn = Drawn.anew(load, noise, random)
        full, all_of_it = everything(drawn)
        found, search = raced(drawn, racing, all_of_it.verdicts)
        winners = [judgement.recommended or "" for judgement in (full, found)]
        same += winners[0] == winners[1]
        alike += winners[0] == winners[1] or ("" not in winners and _tied(all_of_it, *winners))
        acceptable = {n: w.truth for n, w in drawn.ways.items() if not w.answers.startswith("int4")}
        best = max(acceptable, key=lambda name: acceptable[name])
        right += winners[1] == best
        wrong += bool(winners[1]) and acceptable.get(winners[1], 0.0) <= 1 + DECISION.min_gain
        regret.append(1 - acceptable.get(winners[1], 1.0) / acceptable[best])
        spent, all_spent = search.spent, all_of_it.spent
        costs.append([getattr(spent, what) / getattr(all_spent, what) for what in _COSTS])
    shares = [f"{100 * value / experiments:.1f} %" for value in (same, alike, right, wrong)]
    cost = [f"{100 * value:.0f} %" for value in np.mean(costs, axis=0)]
    asked = (f"{load.repeats} in {load.starts}", noise.words)
    return f"| {' | '.join((*asked, *shares, f'{100 * np.mean(regret):.2f} %', *cost))} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--repeats", type=int, nargs="+", default=[4, 6, 8], help="each with an engine start of its own"
    )
    parser.add_argument("--noise", type=int, nargs="+", default=[3, 1], help="of load_calibration.py")
    parser.add_argument("--starts", type=int, default=1, help="engine starts in the first rung")
    parser.add_argument("--kv", type=float, default=KV["fp8"][0], help="times the tokens/s by an FP8 KV cache")
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    KV["fp8"] = (options.kv, KV["fp8"][1])
    for repeats in options.repeats:
        load = ConcurrentLoad.model_validate(
            {"kind": "concurrent", "streams": (1,), "repeats": repeats, "starts": repeats}
        )
        for noise in options.noise:
            racing = Racing(starts=options.starts)
            print(line(load, racing, NOISES[noise], options.experiments, options.seed), flush=True)


if __name__ == "__main__":
    main()
