"""How often a lead under load, and the decision by it, is right, by simulation: through the project's own pairing.

Every turn of every variant and of the baseline beside it is drawn in the order in which `flows.stages.block` takes
them, on one machine whose noise goes on in between: a first-order autoregression from turn to turn (.9, 10 % in all), a
steady drift (20 % in 6 turns), engine starts that differ (2 % each, repeats of one .5 %), and all of them at half their
size together. Then `flows.analysis.ratios`, `flows.analysis.leads` and `flows.analysis.decide` make of it what they
make of records. All variants are as fast as the baseline, or one of them is faster by 10 %.

    PYTHON tests/bench/load_calibration.py --variants 1 13 100 --starts 1 2 4 --repeats 4 8
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from configs.decision import Decision
from configs.load import ConcurrentLoad
from flows.analysis.decide import decide
from flows.analysis.judgement import Estimate, Judged, Lead
from flows.analysis.leads import excluded, of_pairs, shown
from flows.analysis.looks import near
from flows.analysis.ratios import Pairs, Spread, of_units, spread_of

DECISION = Decision()
GAIN = 1.10
_START_TURNS = 5
"""Turns of a load that the start of an engine takes."""


@dataclass(frozen=True)
class Noise:
    """Logarithms of what a turn is faster by than another."""

    words: str
    wander: float = 0.0
    """Standard deviation of an autoregression of the first order from turn to turn."""
    drift: float = 0.0
    """Per turn."""
    starts: float = 0.0
    """Standard deviation between starts of an engine."""
    repeats: float = 0.005
    """Standard deviation between turns of one start, beside all that."""
    alike: bool = True
    """Whether all variants are as noisy; else every other one is four times as noisy as the rest."""


NOISES = (
    Noise("independent, 5 %", repeats=0.05),
    Noise("AR(.9), 10 %", wander=0.10),
    Noise("steady drift, 20 % in 6 turns", drift=-0.20 / 6),
    Noise("starts differ by 2 %", starts=0.02),
    Noise("half of each", wander=0.05, drift=-0.20 / 12, starts=0.01, repeats=0.025),
    Noise("half of the variants 4 times as noisy", starts=0.005, repeats=0.005, alike=False),
)


class Machine:
    """Turns, one after the other."""

    def __init__(self, noise: Noise, random: np.random.Generator) -> None:
        self._noise, self._random = noise, random
        self._wander, self._turns = float(random.normal(0, noise.wander)), 0

    def pass_(self, turns: int) -> None:
        """Nothing is loaded for a while."""
        carried = 0.9**turns
        self._wander = carried * self._wander + float(
            self._random.normal(0, self._noise.wander * np.sqrt(1 - carried**2))
        )
        self._turns += turns

    def start(self) -> float:
        """An engine is started; how much faster it is than others of its kind."""
        self.pass_(_START_TURNS)
        return float(self._random.normal(0, self._noise.starts))

    def turn(self, engine: float, times: float) -> float:
        """One turn of an engine: its speed."""
        self.pass_(1)
        beside = float(self._random.normal(0, self._noise.repeats))
        return float(np.exp(self._wander + self._noise.drift * self._turns + times * (engine + beside)))


@dataclass
class Block:
    """A variant in turn with the baseline."""

    machine: Machine
    truth: float
    load: ConcurrentLoad
    times: float = 1.0
    """How much noisier than others the variant is."""
    room: bool = True
    """Whether both engines are up at once; else each start is one after the other."""
    pairs: list[tuple[float, float]] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    """Of every pair; empty where one start is asked for."""
    engines: int = 0
    """Started for it."""
    _up: tuple[float, float] = (0.0, 0.0)

    def go_on(self, until: int) -> None:
        """The repeats up to so many."""
        several = self.load.repeats_a_start("cpu") is not None
        repeats = range(len(self.pairs), until)
        for start in dict.fromkeys(self.load.start_of(repeat, "cpu") for repeat in repeats):
            mine = [repeat for repeat in repeats if self.load.start_of(repeat, "cpu") == start]
            self.starts += [float(start)] * len(mine) if several else []
            if not self.room:
                self._alone(len(mine), start)
                continue
            if mine[0] == 0 or several:
                self._up, self.engines = (self.machine.start(), self.machine.start()), self.engines + 2
            for repeat in mine:
                sides = ((self._up[0], self.times), (self._up[1], 1.0))
                one, other = (self.machine.turn(*side) for side in sides[:: -1 if repeat % 2 else 1])
                ours, theirs = (other, one) if repeat % 2 else (one, other)
                self.pairs.append((self.truth * ours, theirs))

    def _alone(self, repeats: int, start: int) -> None:
        turns = []
        for times in (self.times, 1.0)[:: -1 if start % 2 else 1]:
            engine, self.engines = self.machine.start(), self.engines + 1
            turns.append([self.machine.turn(engine, times) for _ in range(repeats)])
        ours, theirs = turns[:: -1 if start % 2 else 1]
        self.pairs += [(self.truth * mine, base) for mine, base in zip(ours, theirs, strict=True)]

    def lead(self, variants: int, spread: Spread | None) -> Lead | None:
        """Over the baseline beside it."""
        looks = len(self.load.looks)
        return of_pairs(self.pairs, 1, DECISION, variants, starts=self.starts, spread=spread, looks=looks)

    def until_enough(self, variants: int, control: "Block | None") -> None:
        """Look by look, by the rule of `flows.analysis.looks`."""
        for until in self.load.looks:
            self.go_on(until)
            spread = _spread([self], control) if control else _spread([], self) if self.starts else None
            lead = self.lead(variants, spread)
            if lead is None or until == self.load.looks[-1]:
                continue
            if (
                (near(lead, DECISION.min_gain))
                if control is None
                else (shown(lead, DECISION) or excluded(lead, DECISION))
            ):
                return


def _spread(blocks: list[Block], control: Block) -> Spread | None:
    units = [of_units(block.pairs, block.starts) for block in blocks]
    again, one_start = of_units(control.pairs, control.starts), not control.starts
    return spread_of([one for one in units if one is not None], again, one_start=one_start)


@dataclass(frozen=True)
class Found:
    """What an experiment said, and what it cost for each variant and the control."""

    answer: str
    repeats: float
    engines: float


def experiment(
    truth: list[float], noise: Noise, load: ConcurrentLoad, random: np.random.Generator, room: bool
) -> Found:
    """The answer; a wrong one where a variant is deployed whose gain is not above the smallest."""
    machine = Machine(noise, random)
    times = [1.0 if noise.alike or place % 2 else 4.0 for place in range(len(truth))]
    control = Block(machine, 1.0, load, room=room)
    control.until_enough(1, None)
    blocks = [Block(machine, one, load, t, room) for one, t in zip(truth, times, strict=True)]
    for block in blocks:
        block.until_enough(len(truth), control)
    spread = _spread(blocks, control)
    judged = [_judged("base", control.pairs, None)]
    judged += [_judged(str(n), block.pairs, block.lead(len(truth), spread)) for n, block in enumerate(blocks)]
    said = decide(judged, DECISION, {})
    everybody = [control, *blocks]
    cost = (float(np.mean([len(block.pairs) for block in everybody])), float(np.mean([b.engines for b in everybody])))
    if said.answer != "deploy" or said.recommended is None:
        return Found(said.answer, *cost)
    right = truth[int(said.recommended)] > 1 + DECISION.min_gain
    return Found("deploy" if right else "deploy wrongly", *cost)


def _judged(name: str, pairs: Pairs, lead: Lead | None) -> Judged:
    """A variant that passes, with nothing but its throughputs."""
    objective = Estimate(float(np.mean([ours for ours, _ in pairs])), None, None)
    return Judged(name, 1, (), None, (), objective, lead, None, (), None, None if name == "base" else "pass", (), {})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--variants", type=int, nargs="+", default=[1, 13])
    parser.add_argument("--starts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=_repeats, nargs="+", default=[4, 8, "auto"])
    parser.add_argument("--max-repeats", type=int, help="with auto")
    parser.add_argument("--one-engine", action="store_true", help="a host with room for one engine")
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--errors-only", action="store_true", help="only where all are as fast as the baseline")
    parser.add_argument("--noise", type=int, nargs="*", default=list(range(len(NOISES))), help="which of the noises")
    parser.add_argument("--all", type=float, default=1.0, help="how fast all are, the baseline being 1; 1.03 errs most")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for starts in options.starts:
        for repeats in options.repeats:
            asked = {"repeats": repeats, "starts": starts, "max_repeats": options.max_repeats}
            load = ConcurrentLoad.model_validate({"kind": "concurrent", "streams": (1,), **asked})
            for variants in options.variants:
                for noise in (NOISES[place] for place in options.noise):
                    print(line(noise, load, variants, options), flush=True)


def _repeats(text: str) -> int | str:
    return text if text == "auto" else int(text)


def line(noise: Noise, load: ConcurrentLoad, variants: int, options: argparse.Namespace) -> str:
    """How often one is deployed wrongly, and the baseline kept, where all are equal; how often the faster is found, and
    another deployed, where one is; and for both the repeats and engine starts of each."""
    random, count, room = np.random.default_rng(options.seed), options.experiments, not options.one_engine
    equal, one = [options.all] * variants, [GAIN, *[options.all] * (variants - 1)]
    truths = [(equal, ("deploy wrongly", "keep the baseline"))]
    truths += [] if options.errors_only else [(one, ("deploy", "deploy wrongly"))]
    cells, cost = [], []
    for truth, words in truths:
        found = [experiment(truth, noise, load, random, room) for _ in range(count)]
        cells += [f"{100 * sum(one.answer == word for one in found) / count:.1f} %" for word in words]
        cost += [f"{np.mean([one.repeats for one in found]):.1f} / {np.mean([one.engines for one in found]):.1f}"]
    asked = (str(variants), str(load.starts), str(load.repeats), noise.words)
    return f"| {' | '.join((*asked, *cells, *cost))} |"


if __name__ == "__main__":
    main()
