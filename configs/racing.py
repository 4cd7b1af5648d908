"""Spending less on variants that cannot win."""

import math
from itertools import pairwise

from pydantic import Field, field_validator

from configs.accuracy import Task
from configs.base import Settings


class Racing(Settings):
    """Accuracy in nested slices of the same shuffled documents; a variant that can no longer win is stopped.

    After each slice, a variant is stopped if its loss is shown to be beyond the margin. The remaining slices
    follow after the first slice and the load: the baseline and the best variant by the objective first, then the
    others in that order. Once a variant has passed on all documents, the variants ranked below it are not
    evaluated further; with several workloads, those ranked below a passing variant under every workload. With
    `starts`, the load comes in two parts: who is shown to be behind a passing variant after the first is not loaded
    further.
    """

    looks: tuple[float, ...] = Field(default=(0.1, 0.4), min_length=1)
    """Shares of every task's documents after which variants are judged; the last slice completes them."""
    error_rate: float = Field(default=0.01, gt=0, lt=0.5)
    """Largest probability that a variant with a loss within the margin is stopped, over all looks at it."""
    starts: int | None = Field(default=None, ge=1, le=1000)
    """Engine starts of every load before variants rest, of those that the load asks for: with 1 of 6, a variant that is
    shown to be behind costs a sixth. Intervals are over starts, so that more of them in all stop more variants. None:
    all, so that the load stops nobody early."""
    frontrunners: int = Field(default=1, ge=1, le=10_000)
    """Variants evaluated at the same time beyond the first slice. More of them finish sooner, but answer more
    documents."""
    proxy: Task = Task(name="everyday_text", limit=20)
    """A text whose perplexity is checked first. It may stop a broken variant, but never ranks variants."""
    max_perplexity_ratio: float = Field(default=3.0, gt=1)
    """Largest ratio of a variant's perplexity there to the baseline's; above it the variant is broken."""

    @field_validator("looks")
    @classmethod
    def _rising(cls, looks: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < look < 1 for look in looks) or list(looks) != sorted(set(looks)):
            raise ValueError(f"{list(looks)} must increase and lie between 0 and 1; for example [0.1, 0.4]")
        return looks

    @property
    def looks_at_load(self) -> int:
        """Looks at a load beside its own: the one after its first part."""
        return 0 if self.starts is None else 1

    @property
    def slices(self) -> tuple[tuple[float, float], ...]:
        """From which to which share of the documents each slice goes."""
        return tuple(pairwise((0.0, *self.looks, 1.0)))

    def fewest(self, documents: int) -> int:
        """Documents in the smallest slice of so many."""
        return min(math.ceil(last * documents) - math.ceil(first * documents) for first, last in self.slices)

    def enough_for(self, fewest: int) -> int:
        """Documents that leave at least so many in every slice."""
        return math.ceil(fewest / min(last - first for first, last in self.slices))
