"""Metrics of all documents together, from sums over the documents. Pure functions.

What one document adds is known (`configs.metrics.Kind`), so such a metric can be computed again for documents drawn
anew, which gives its interval: the paired bootstrap (Efron 1979; for translations: Koehn 2004, EMNLP, p. 388).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from configs.metrics import CLASSES, OF_SUMS, PERPLEXITIES, Kind
from flows.statistics.intervals import Bounds

FEWEST = 100
"""Documents, or sources, from which on the interval was seen to cover (`tests/bench/calibration.py --accuracy`)."""
_RESAMPLES = 2000
_AT_ONCE = 100
"""Resamples whose documents are counted at the same time: 100 of 15,000 documents take 12 MB."""


def sums_of(kind: Kind, pairs: Sequence[tuple[Any, Any]]) -> np.ndarray:
    """What each document adds to the sums, of shape (2, documents, sums): the baseline's, then the variant's.

    Args:
        pairs: each document's value of the baseline and of the variant, as `Kind` has it.
    """
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    return _confusions(sides) if kind in CLASSES else np.array(sides, dtype=float)


def _confusions(sides: list[list[Any]]) -> np.ndarray:
    """For every document the one cell of the table of right and answered classes in which it lies."""
    classes = sorted({label for side in sides for pair in side for label in pair}, key=_by_number)
    indices = {label: index for index, label in enumerate(classes)}
    cells = np.array([[indices[right] * len(classes) + indices[answer] for right, answer in side] for side in sides])
    table: np.ndarray = np.eye(len(classes) ** 2)[cells]
    return table


def _by_number(label: Any) -> tuple[bool, float, str]:
    return isinstance(label, str), 0.0 if isinstance(label, str) else float(label), str(label)


def value_of(kind: Kind, sums: np.ndarray) -> np.ndarray:
    """The metric from sums of shape (..., sums)."""
    if kind in PERPLEXITIES:
        nats = -sums[..., 0] / sums[..., 1]
        perplexity: np.ndarray = nats / np.log(2) if kind == "bits_per_byte" else np.exp(nats)
        return perplexity
    if kind == "ter":
        return 100 * _over(sums[..., 0], sums[..., 1])
    if kind == "bleu":
        return _bleu(sums)
    if kind in ("chrf", "chrf++"):
        return _chrf(sums)
    classes = int(np.sqrt(sums.shape[-1]))
    return _of_classes(kind, sums.reshape(*sums.shape[:-1], classes, classes))


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """A ratio, 0 where there is nothing below."""
    ratio: np.ndarray = np.divide(
        above, below, out=np.zeros(np.broadcast_shapes(np.shape(above), np.shape(below))), where=below != 0
    )
    return ratio


def _bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU of up to four words (Papineni et al. 2002) with sacrebleu's smoothing `exp`.

    Args:
        sums: lengths of answers and references, then n-grams matched and n-grams answered, four of each.
    """
    answered, wanted, matched, made = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:10]
    halved = 2.0 ** np.cumsum((matched == 0) & (made > 0), axis=-1)
    share = np.where(matched > 0, _over(matched, made), _over(np.ones_like(made), halved * made))
    with np.errstate(divide="ignore"):
        logarithm = np.log(share).mean(-1)
    short = np.minimum(0.0, 1 - _over(wanted, answered))
    return np.where(matched.any(-1) & (answered > 0), 100 * np.exp(short + logarithm), 0.0)


def _chrf(sums: np.ndarray) -> np.ndarray:
    """Mean precision and recall of n-grams of characters, joined with recall twice as heavy (Popović 2015).

    Args:
        sums: for every order n-grams answered, wanted, and matched.
    """
    answered, wanted, matched = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    orders = ((answered > 0) & (wanted > 0)).sum(-1)
    precision, recall = (_over(_over(matched, all_of).sum(-1), orders) for all_of in (answered, wanted))
    return 100 * _over(5 * precision * recall, 4 * precision + recall)


def _of_classes(kind: Kind, table: np.ndarray) -> np.ndarray:
    """F1 of class 1, the mean of every class's F1 by how often it is right, or Matthews' correlation (of several
    classes: Gorodkin 2004).

    Args:
        table: documents of shape (..., right class, answered class).
    """
    right, answered, agreed = table.sum(-1), table.sum(-2), np.diagonal(table, axis1=-2, axis2=-1)
    of_each = _over(2 * agreed, right + answered)
    if kind == "f1":
        return of_each[..., min(1, of_each.shape[-1] - 1)]
    count = right.sum(-1)
    if kind == "weighted_f1":
        return _over((of_each * right).sum(-1), count)
    shared = agreed.sum(-1) * count - (right * answered).sum(-1)
    spread = (count**2 - (right**2).sum(-1)) * (count**2 - (answered**2).sum(-1))
    return _over(shared, np.sqrt(spread))


def of_each(kind: Kind, sums: np.ndarray) -> np.ndarray:
    """Every document by itself: the metric, or of classes whether it was right.

    Args:
        sums: of shape (..., documents, sums).
    """
    if kind not in CLASSES:
        return value_of(kind, sums)
    classes = int(np.sqrt(sums.shape[-1]))
    right: np.ndarray = sums[..., :: classes + 1].sum(-1)
    return right


def unseen(kind: Kind, documents: int, confidence: float) -> float:
    """How much documents that were not drawn may change a metric, though all that were agree: a share of them up to
    this leaves no example among so many (rule of three: Hanley and Lippman-Hand 1983). 0 for a perplexity, which has
    no end."""
    if kind in PERPLEXITIES:
        return 0.0
    return float((100 if kind in OF_SUMS else 1) * (1 - (1 - confidence) ** (1 / documents)))


@dataclass(frozen=True)
class Resampled:
    """A metric of base and variant, and of the same documents drawn anew."""

    kind: Kind
    units: int
    """Documents, or sources where documents share them."""
    values: tuple[float, float]
    """The baseline's and the variant's."""
    low_drawn: np.ndarray
    """Of shape (2, resamples), base and variant on the same draws, from which one more may come: the worst document."""
    high_drawn: np.ndarray
    """Likewise with the best one."""

    def difference(self, confidence: float) -> Bounds:
        """Interval of variant minus base."""
        low, high = (side[1] - side[0] for side in (self.low_drawn, self.high_drawn))
        return self._interval(self.values[1] - self.values[0], low, high, confidence, 1.0)

    def ratio(self, confidence: float, *, turned: bool = False) -> Bounds | None:
        """Interval of variant over base, or of base over variant; None where what stands below reaches 0."""
        values, low, high = self.values, self.low_drawn, self.high_drawn
        if turned:
            values, low, high = values[::-1], high[::-1], low[::-1]
        if values[0] <= 0 or (low[0] <= 0).any() or (high[0] <= 0).any():
            return None
        return self._interval(values[1] / values[0], low[1] / low[0], high[1] / high[0], confidence, values[0])

    def _interval(self, value: float, low: np.ndarray, high: np.ndarray, confidence: float, unit: float) -> Bounds:
        """Percentiles, or normal theory with the spread of the resamples where that is wider, as of the rare errors
        that many variants ask for the resamples are too few."""
        normal = float(norm.ppf(0.5 + confidence / 2)) * max(float(low.std()), float(high.std()))
        reach = max(unseen(self.kind, self.units, confidence) / unit, normal)
        bounds = float(np.quantile(low, 0.5 - confidence / 2)), float(np.quantile(high, 0.5 + confidence / 2))
        return min(bounds[0], value - reach), max(bounds[1], value + reach)

    @property
    def too_few(self) -> str | None:
        """Why this interval decides nothing."""
        if self.units >= FEWEST:
            return None
        return f"{self.kind} is judged only from {FEWEST} documents or sources on, where its interval is known to cover"


def resampled(kind: Kind, sums: np.ndarray, sources: np.ndarray | None, seed: int) -> Resampled:
    """The metric over documents, or over sources, drawn again and again, each bound's with one more that changes it
    most: of all that were seen, or of classes of all that there may be. What is rare may not have been seen at all, as
    with means (`flows.statistics.bounded_mean`).

    Args:
        sums: of shape (2, documents, sums), as of `sums_of`.
        sources: the number of every document's source, from 0 up; None where each stands for itself.
    """
    base, variant = (float(value_of(kind, side.sum(0))) for side in sums)
    if sources is not None:
        joined = np.zeros((2, int(sources.max()) + 1, sums.shape[-1]))
        for side in (0, 1):
            np.add.at(joined[side], sources, sums[side])
        sums = joined
    random, units, width = np.random.default_rng(seed), sums.shape[1], sums.shape[-1]
    different, counts = np.unique(np.concatenate(sums, axis=-1), axis=0, return_counts=True)
    if kind in CLASSES:
        possible = _possible(int(np.sqrt(width)))
        different, counts = np.concatenate([different, possible]), np.append(counts, np.zeros(len(possible)))
    sides = np.stack([different[:, :width], different[:, width:]])
    with_each = value_of(kind, sides + sums.sum(1)[:, None])
    change = with_each[1] - with_each[0]
    drawn = []
    for added in (int(change.argmin()), int(change.argmax())):
        shares = counts.astype(float)
        shares[added] += 1
        rounds = (
            random.multinomial(units + 1, shares / (units + 1), size=_AT_ONCE) for _ in range(_RESAMPLES // _AT_ONCE)
        )
        drawn.append(np.concatenate([value_of(kind, times @ sides) for times in rounds], axis=-1))
    return Resampled(kind, units, (base, variant), *drawn)


def _possible(classes: int) -> np.ndarray:
    """Every document that there may be: baseline's and variant's cell of the table, side by side."""
    cells = np.eye(classes**2).reshape(classes, classes, -1)
    triples = [(right, one, other) for right in range(classes) for one in range(classes) for other in range(classes)]
    return np.array([np.concatenate([cells[right, one], cells[right, other]]) for right, one, other in triples])
