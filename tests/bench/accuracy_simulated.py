"""How often intervals and verdicts of accuracy are right, on simulated documents whose truth is known; many experiments
at once, through the functions that `flows.analysis.accuracy` and `flows.analysis.early_stopping` call. Shown by
`calibration.py --accuracy`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from configs.metrics import Kind
from configs.racing import Racing
from flows.analysis import corpus_metrics
from flows.analysis.corpus_metrics import FEWEST
from flows.statistics.bounded_mean import mean_bounds, ratio_bounds
from flows.statistics.proportions import tang, tango

CONFIDENCE = 0.95
DOCUMENTS = (30, 200, 541, 2376, 14042)
Random = np.random.Generator


@dataclass(frozen=True)
class Line:
    """What many experiments with the same truth found."""

    what: str
    documents: str
    covered: float
    """The share of intervals that hold the truth."""
    passed: float
    """The share whose lower bound lies above the truth: as often a variant that loses the margin passes."""
    reach: float
    """Half of an interval, on average."""

    def __str__(self) -> str:
        shares = f"{100 * self.covered:5.1f} % | {100 * self.passed:4.1f} %"
        return f"| {self.what} | {self.documents} | {shares} | {self.reach:.4f} |"

    @classmethod
    def of(cls, what: str, documents: Any, low: np.ndarray, high: np.ndarray, truth: float) -> "Line":
        held = float(((low <= truth) & (truth <= high)).mean())
        return cls(what, str(documents), held, float((low > truth).mean()), float((high - low).mean() / 2))


def lines(experiments: int, random: Random) -> Iterator[Line]:
    """Every line; those of right and wrong and of scores of 20 times as many experiments."""
    for part in (right_or_wrong, skewed_scores, groups, sources):
        yield from part(20 * experiments, random)
    yield from metrics_of_all(experiments, random)


def right_or_wrong(experiments: int, random: Random) -> Iterator[Line]:
    """Shares of documents gained and lost; recovery where the baseline has 60 % right."""
    for gained, lost in ((0.0, 0.02), (0.005, 0.025), (0.03, 0.05), (0.0, 0.05)):
        for count in DOCUMENTS:
            both = 0.6 - lost
            drawn = random.multinomial(count, [both, gained, lost, 1 - both - gained - lost], experiments).T
            what = f"right/wrong, {100 * gained:g} % gained, {100 * lost:g} % lost"
            yield Line.of(what, count, *tango(drawn[1], drawn[2], count, CONFIDENCE), truth=gained - lost)
            some = drawn[:3, drawn[0] + drawn[2] > 0]
            yield Line.of(f"{what}: recovery", count, *tang(*some, count, CONFIDENCE), truth=(both + gained) / 0.6)


SKEWED = {
    "scores, 4 % lose .5": ((-0.5, 0.0), (0.04, 0.96)),
    "scores, 2 % lose all": ((-1.0, 0.0), (0.02, 0.98)),
    "scores, 80 % lose .05, 2 % gain all": ((-0.05, 0.0, 1.0), (0.8, 0.18, 0.02)),
    "scores, 10 % differ by .2 each way, 4 % lose .5": ((-0.5, -0.2, 0.0, 0.2), (0.04, 0.1, 0.76, 0.1)),
    "scores, 10 % differ by .3 each way": ((-0.3, 0.0, 0.3), (0.1, 0.8, 0.1)),
}


def skewed_scores(experiments: int, random: Random) -> Iterator[Line]:
    """Differences that are rare and large; recovery where the baseline has 1 or .5."""
    for what, (values, shares) in SKEWED.items():
        change, truth = np.array(values), float(np.dot(values, shares))
        for count in DOCUMENTS:
            drawn = random.multinomial(count, shares, experiments).astype(float)
            bounds = mean_bounds(change, np.ones(len(change)), drawn, 1.0, CONFIDENCE)
            yield Line.of(what, count, *bounds, truth=truth)
        base = np.where(change > 0.5, 0.0, 1.0)
        bounds = ratio_bounds(np.clip(base + change, 0, 1), base, drawn[:1000], 1.0, CONFIDENCE)
        kept = float(np.dot(np.clip(base + change, 0, 1), shares) / np.dot(base, shares))
        yield Line.of(f"{what}: recovery", count, *bounds, truth=kept)


def groups(experiments: int, random: Random) -> Iterator[Line]:
    """Subtasks that count alike whatever their sizes, and differ in what they lose."""
    for sizes in ((5000, *[100] * 13), (1000, 1000), (200, 50, 50)):
        total, weight = sum(sizes), [sum(sizes) / (len(sizes) * size) for size in sizes]
        losses = np.linspace(0.005, 0.05, len(sizes))
        drawn = [
            random.multinomial(size, [loss, 0.01, 0.99 - loss], experiments)
            for size, loss in zip(sizes, losses, strict=True)
        ]
        units = np.array([(value * one, one) for one in weight for value in (-1.0, 1.0, 0.0)])
        counts = np.concatenate(drawn, axis=1).astype(float)
        bounds = mean_bounds(units[:, 0], units[:, 1], counts, 1.0, CONFIDENCE)
        words = f"{total:,} of {len(sizes)} subtasks"
        yield Line.of("right/wrong, subtasks that count alike", words, *bounds, truth=float((0.01 - losses).mean()))


def sources(experiments: int, random: Random) -> Iterator[Line]:
    """Documents by fives to a source; most sources lose little, some a lot."""
    for count in (57, 200, 1000):
        for what, effects, shares in (
            ("sources that lose 1 or 5 %", (0.01, 0.05), (0.5, 0.5)),
            ("sources, one of 20 loses 40 %", (0.0, 0.4), (0.95, 0.05)),
        ):
            of_each = [_binomial(5, effect) * share for effect, share in zip(effects, shares, strict=True)]
            drawn = random.multinomial(count, np.sum(of_each, axis=0), experiments).astype(float)
            change, size = -np.arange(6.0), np.full(6, 5.0)
            bounds = mean_bounds(change, size, drawn, 1.0, CONFIDENCE)
            yield Line.of(what, f"{count} sources of 5", *bounds, truth=-float(np.dot(effects, shares)))


def _binomial(count: int, share: float) -> np.ndarray:
    """Chances of 0 to `count` of as many."""
    found = np.array([1.0])
    for _ in range(count):
        found = np.convolve(found, [1 - share, share])
    return found


def metrics_of_all(experiments: int, random: Random) -> Iterator[Line]:
    """Metrics that are no means, from the fewest documents on that are judged."""
    made: dict[Kind, Callable[[int, Random], np.ndarray]] = {
        "f1": _classes,
        "mcc": _classes,
        "ter": _edits,
        "bits_per_byte": _likelihoods,
    }
    for kind, drawn in made.items():
        whole = drawn(2_000_000, np.random.default_rng(0)).sum(1)
        truth = float(np.subtract(*corpus_metrics.value_of(kind, whole)[::-1]))
        for count in (FEWEST, 541, *([2376, 14042] if kind in ("f1", "mcc") else [])):
            found = []
            for seed in range(experiments):
                sums = drawn(count, random)
                found.append(corpus_metrics.resampled(kind, sums, None, seed).difference(CONFIDENCE))
            low, high = np.array(found).T
            signed = (low, high, truth) if kind in ("f1", "mcc") else (-high, -low, -truth)
            yield Line.of(kind, count, *signed)


def _classes(count: int, random: Random) -> np.ndarray:
    """A fifth of the documents are of class 1; the baseline answers 85 % right, the variant otherwise in 2 to 4 %."""
    right = random.random(count) < 0.2
    base = right ^ (random.random(count) < 0.15)
    variant = base ^ (random.random(count) < np.where(base == right, 0.04, 0.02))
    return np.stack([np.eye(4)[2 * right + told] for told in (base, variant)])


def _edits(count: int, random: Random) -> np.ndarray:
    """Translations of 5 to 40 words, a third of them wrong; of one in 25 the variant has all wrong."""
    words = random.integers(5, 41, count)
    edits = random.binomial(words, 0.35)
    worse = np.where(random.random(count) < 0.04, words, edits)
    return np.stack([np.column_stack([side, words]) for side in (edits, worse)]).astype(float)


def _likelihoods(count: int, random: Random) -> np.ndarray:
    """Texts of skewed lengths, the variant worse by .02 nats a byte and as much again here and there."""
    sizes = np.round(np.exp(random.normal(6, 0.7, count)))
    nats = random.normal(0.6, 0.1, count)
    worse = nats + 0.02 + 0.02 * random.exponential(1.0, count)
    return np.stack([np.column_stack([-side * sizes, sizes]) for side in (nats, worse)])


def races(experiments: int, random: Random) -> Iterator[str]:
    """How often a race stops a variant that loses as much as the margin, where it errs most."""
    racing = Racing()
    confidence = 1 - 2 * racing.error_rate / len(racing.looks)
    right = {"right/wrong, 5 % lost, none gained": ((-1.0, 0.0), (0.05, 0.95))}
    right["right/wrong, 3 % lost, 1 % gained"] = ((-1.0, 0.0, 1.0), (0.03, 0.96, 0.01))
    for what, (values, shares) in (right | SKEWED).items():
        change, margin = np.array(values), -float(np.dot(values, shares))
        for count in (200, 1000, 2376):
            seen, stopped, drawn = 0, np.zeros(experiments, dtype=bool), np.zeros((experiments, len(change)))
            for share in racing.looks:
                drawn += random.multinomial(round(share * count) - seen, shares, experiments)
                seen = round(share * count)
                stopped |= mean_bounds(change, np.ones(len(change)), drawn, 1.0, confidence)[1] < -margin
            yield f"| {what} | {count} | {100 * stopped.mean():.2f} % |"
