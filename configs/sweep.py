"""A sweep: schemes that are not listed one by one, but drawn from a space."""

import random
from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Literal, Self

from pydantic import Field, model_validator

from configs import names
from configs.base import Seed, Settings, mistake
from configs.schemes import Scheme
from configs.space import Parameter, Template, Value

MOST_SCHEMES = 1000
"""Each is a checkpoint, and a row of every table."""


class Sweep(Settings):
    """A space of schemes, and the way to search it.

    `exhaustive` tries every combination of every template, `random` draws some of them, and `optuna`
    chooses each scheme by the results of the earlier ones, while the experiment runs.
    """

    space: tuple[Template, ...] = Field(min_length=1, max_length=MOST_SCHEMES)
    """Templates of schemes."""
    search: Literal["exhaustive", "random", "optuna"] = "exhaustive"
    """`exhaustive`: all combinations; `random`: some of them; `optuna`: by earlier results."""
    samples: int | None = Field(default=None, ge=1, le=MOST_SCHEMES)
    """Number of variants to try; for `random` and `optuna`."""
    seed: Seed = 42
    """Seed of the draws. With the same seed, more samples extend the earlier ones."""
    max_concurrent: int | None = Field(default=None, ge=1)
    """Variants in progress at once; None: one for every engine slot, and one that is quantized ahead."""

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        if self.search == "exhaustive":
            self._takes_all()
        elif (corners := sum(prod(len(p.ends) for p in template.parameters) for template in self.space)) > 100_000:
            raise mistake(f"{corners:,} combinations of choices and ends; at most 100,000: give fewer choices", "space")
        elif self.samples is None:
            message = f"missing; search {self.search} needs the number of variants to try"
            raise mistake(message, "samples")
        different = len(self.expanded) if self.search == "random" else self.size
        if different is not None and different < (self.samples or 0):
            message = (
                f"{self.samples} requested, but the space has {different} different schemes; request fewer, or "
                "set search: exhaustive"
            )
            raise mistake(message, "samples")
        return self

    def _takes_all(self) -> None:
        if self.samples is not None:
            message = (
                f"{self.samples} requested, but search exhaustive tries all schemes; remove it, or set search: random"
            )
            raise mistake(message, "samples")
        for position, template in enumerate(self.space):
            for parameter in template.stepless:
                message = (
                    f"{parameter.low} to {parameter.high} without a step has infinitely many values; add a step, or "
                    "set search: random or optuna"
                )
                raise mistake(message, "space", position, parameter.field)
        if (size := self.size or 0) > MOST_SCHEMES:
            message = (
                f"{size:,} schemes; at most {MOST_SCHEMES:,}: use larger steps, or set search: random with samples"
            )
            raise mistake(message, "space")

    @property
    def size(self) -> int | None:
        """How many combinations the space has, or None where a range has no step."""
        if any(template.stepless for template in self.space):
            return None
        return sum(template.combinations for template in self.space)

    @property
    def expanded(self) -> tuple[Scheme, ...]:
        """The schemes that are known before one is tried, each once; none for `optuna`."""
        return () if self.search == "optuna" else tuple(self.possible)

    @cached_property
    def possible(self) -> dict[Scheme, int]:
        """Schemes with the index of their template: all of them, or for `optuna` those at the corners of the
        space, so that what can come up is checked before one is tried."""
        if self.search == "random":
            return self._drawn()
        corners = self.search == "optuna"
        schemes: dict[Scheme, int] = {}
        for index, template in enumerate(self.space):
            for values in template.corners() if corners else template.every():
                schemes.setdefault(self.scheme(index, values), index)
        return schemes

    def parameters(self) -> tuple[tuple[Parameter, ...], ...]:
        """For each template the fields that vary; empty where it is one scheme."""
        return tuple(template.parameters for template in self.space)

    def scheme(self, template_index: int, values: Mapping[str, Value]) -> Scheme:
        """The scheme of one combination, under a name made of what varies.

        Args:
            values: one for each field that varies; a number of a range is taken to the nearest that it has.

        Raises:
            ValueError: these are not the fields that vary, or not values that they may have.
        """
        template = self.space[template_index]
        if set(values) != {parameter.field for parameter in template.parameters}:
            raise ValueError(
                f"sweep.space.{template_index}: values for {sorted(values)} do not match the varying fields"
            )
        scheme = template.scheme({p.field: p.taken(values[p.field]) for p in template.parameters})
        return scheme.model_copy(update={"name": names.of(scheme, self._telling[scheme.kind])})

    def _drawn(self) -> dict[Scheme, int]:
        """`samples` different schemes, in the order of the draws, or fewer where there are no more."""
        draw = random.Random(self.seed)
        chances = [template.combinations for template in self.space]
        left = sum(prod(parameter.count for parameter in template.parameters) for template in self.space)
        seen: set[tuple[int, tuple[Value, ...]]] = set()
        schemes: dict[Scheme, int] = {}
        while len(schemes) < (self.samples or 0) and len(seen) < left:
            (index,) = draw.choices(range(len(chances)), chances)
            values = {p.field: p.at(draw.randrange(p.count)) for p in self.space[index].parameters}
            if (index, tuple(values.values())) not in seen:
                seen.add((index, tuple(values.values())))
                schemes.setdefault(self.scheme(index, values), index)
        return schemes

    @cached_property
    def _telling(self) -> dict[str, tuple[str, ...]]:
        """By kind, the fields that tell its schemes apart."""
        kinds = {template.kind for template in self.space}
        return {kind: names.telling_fields([t for t in self.space if t.kind == kind]) for kind in kinds}
