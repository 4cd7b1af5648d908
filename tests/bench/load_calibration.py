"""How often a lead under load, and the decision by it, is right, by simulation: through the project's own pairing.

Every turn of every variant and of the base beside it is drawn in the order in which `flows.stages.block` takes them, on
one machine whose noise goes on in between: a first-order autoregression from turn to turn (.9, 10 % in all), a steady
drift (20 % in 6 turns), engine starts that differ (2 % each, repeats of one .5 %), and all of them at half their size
together. Then `flows.ratios`, `flows.leads` and `flows.decide` make of it what they make of records. All variants are
as fast as the base, or one of them is faster by 10 %.

    PYTHON tests/bench/load_calibration.py --variants 1 13 100 --starts 1 2 4 --repeats 4 8
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from configs.decision import Decision
from configs.load import ConcurrentLoad
from flows.decide import decide
from flows.judgement import Judged
from flows.leads import of_pairs
from flows.performance import estimate
from flows.ratios import Pairs, of_units, spread_of

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


def block(machine: Machine, truth: float, load: ConcurrentLoad, *, room: bool, times: float) -> tuple[Pairs, list[int]]:
    """A variant in turn with the base: the pairs of its repeats, and the start of each.

    Args:
        room: whether both engines are up at once; else each start is one after the other.
        times: how much noisier than others the variant is.
    """
    pairs, names = [], []
    for start in range(load.starts_on("cpu")):
        repeats = [r for r in range(load.repeats) if load.start_of(r, "cpu") == start]
        names += [start] * len(repeats)
        if room:
            ours, theirs = machine.start(), machine.start()
            for repeat in repeats:
                first, second = ((ours, times), (theirs, 1.0))[:: -1 if repeat % 2 else 1]
                one, other = machine.turn(*first), machine.turn(*second)
                pairs.append((truth * other, one) if repeat % 2 else (truth * one, other))
        else:
            sides = [(truth, times), (1.0, 1.0)][:: -1 if start % 2 else 1]
            turns = [[speed * t for t in _alone(machine, noisy, len(repeats))] for speed, noisy in sides]
            ours_, theirs_ = turns[:: -1 if start % 2 else 1]
            pairs += list(zip(ours_, theirs_, strict=True))
    return pairs, names


def _alone(machine: Machine, times: float, repeats: int) -> Iterator[float]:
    engine = machine.start()
    for _ in range(repeats):
        yield machine.turn(engine, times)


def experiment(truth: list[float], noise: Noise, load: ConcurrentLoad, random: np.random.Generator, room: bool) -> str:
    """The answer; a wrong one where a variant is deployed whose gain is not above the smallest."""
    machine = Machine(noise, random)
    times = [1.0 if noise.alike or place % 2 else 4.0 for place in range(len(truth))]
    control, _ = block(machine, 1.0, load, room=room, times=1.0)
    found = [block(machine, one, load, room=room, times=t) for one, t in zip(truth, times, strict=True)]
    several = load.starts_on("cpu") > 1
    names = found[0][1] if several else []
    units = [of_units(pairs, names) for pairs, _ in found]
    spread = spread_of([one for one in units if one is not None], of_units(control, names), one_start=not several)
    judged = [_judged("base", control, None)]
    for place, (pairs, _) in enumerate(found):
        lead = of_pairs(pairs, 1, DECISION, len(truth), starts=names, spread=spread)
        judged.append(_judged(str(place), pairs, lead))
    answer = decide(judged, DECISION, {})
    if answer.answer != "deploy" or answer.recommended is None:
        return answer.answer
    return "deploy" if truth[int(answer.recommended)] > 1 + DECISION.min_gain else "deploy wrongly"


def _judged(name: str, pairs: Pairs, lead: object) -> Judged:
    """A variant that passes, with nothing but its throughputs."""
    objective = estimate([ours for ours, _ in pairs], DECISION.confidence)
    verdict = None if name == "base" else "pass"
    return Judged(name, 1, (), None, (), objective, lead, None, (), None, verdict, (), {})  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--variants", type=int, nargs="+", default=[1, 13])
    parser.add_argument("--starts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--one-engine", action="store_true", help="a host with room for one engine")
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--noise", type=int, nargs="*", default=list(range(len(NOISES))), help="which of the noises")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for starts in options.starts:
        for repeats in (r for r in options.repeats if r >= starts):
            load = ConcurrentLoad(kind="concurrent", streams=(1,), repeats=repeats, starts=starts)
            for variants in options.variants:
                for noise in (NOISES[place] for place in options.noise):
                    _line(noise, load, variants, options, room=not options.one_engine)


def _line(noise: Noise, load: ConcurrentLoad, variants: int, options: argparse.Namespace, *, room: bool) -> None:
    """Errors where all are equal, and what is found where one is faster, with what it costs a variant."""
    random, began = np.random.default_rng(options.seed), time.monotonic()
    equal, one = [1.0] * variants, [GAIN, *[1.0] * (variants - 1)]
    seen: dict[str, Callable[[list[float]], list[str]]] = {}
    answers = [
        [experiment(truth, noise, load, random, room) for _ in range(options.experiments)] for truth in (equal, one)
    ]
    wrong, found = (
        100 * answer.count(word) / options.experiments
        for answer, word in zip(answers, ("deploy wrongly", "deploy"), strict=True)
    )
    kept = 100 * answers[0].count("keep the base") / options.experiments
    also_wrong = 100 * answers[1].count("deploy wrongly") / options.experiments
    print(
        f"| {variants} | {load.starts} | {load.repeats} | {noise.words} | {wrong:.1f} % | {kept:.1f} % | {found:.1f} % "
        f"| {also_wrong:.1f} % | {time.monotonic() - began:.0f} s |",
        flush=True,
    )


if __name__ == "__main__":
    main()
