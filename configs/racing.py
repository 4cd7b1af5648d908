"""Spending less on variants that cannot win."""

from itertools import pairwise

from pydantic import Field, field_validator

from configs.accuracy import Task
from configs.base import Settings


class Racing(Settings):
    """Accuracy in nested slices of the same shuffled documents; who can no longer win is stopped.

    After each slice a variant is stopped where its loss is shown to be beyond the margin. After the
    first slice and the load, the rest is evaluated: the base's beside the best by the objective, then in
    its order. Once a variant has passed on all documents, those behind it are not evaluated any further;
    of several workloads, those behind somebody under every one of them.
    """

    looks: tuple[float, ...] = Field(default=(0.1, 0.4), min_length=1)
    """Shares of every task's documents after which to look; the last slice reaches all of them."""
    error_rate: float = Field(default=0.01, gt=0, lt=0.5)
    """Largest chance that a variant whose loss is within the margin is stopped all the same, over all looks
    at it."""
    frontrunners: int = Field(default=1, ge=1, le=10_000)
    """Variants evaluated at the same time beyond the first slice. More of them end sooner, and answer more
    documents."""
    proxy: Task = Task(name="everyday_text", limit=20)
    """A text whose perplexity is looked at first. It may stop a broken variant, and ranks nobody."""
    max_perplexity_ratio: float = Field(default=3.0, gt=1)
    """A variant whose perplexity there is more than so many times the base's is broken."""

    @field_validator("looks")
    @classmethod
    def _rising(cls, looks: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < look < 1 for look in looks) or list(looks) != sorted(set(looks)):
            raise ValueError(f"{list(looks)} must rise, and lie between 0 and 1; for example [0.1, 0.4]")
        return looks

    @property
    def slices(self) -> tuple[tuple[float, float], ...]:
        """From which to which share of the documents each slice goes."""
        return tuple(pairwise((0.0, *self.looks, 1.0)))
