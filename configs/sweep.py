"""A sweep: variants that are not listed one by one, but drawn from a space of schemes and of ways to serve them."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal, Self

from pydantic import Field, model_validator

from configs import names
from configs.base import Seed, Settings, mistake
from configs.parameters import Parameter, Value
from configs.space import Template
from configs.variants import Variant

MOST_VARIANTS = 1000
"""Each is a row of every table, and many are a checkpoint."""


@dataclass(frozen=True)
class Swept:
    """A variant of a sweep."""

    variant: Variant
    position: int
    """In the space, of the template that it comes from."""


class Sweep(Settings):
    """A space of schemes and engine settings, and the way to search it.

    `exhaustive` tries every combination of every template, `random` draws some of them, and `optuna`
    chooses each variant by the results of the earlier ones, while the experiment runs. The engine settings of a
    template with a scheme are searched for the base model, too, unless a template without a scheme has the same.
    """

    space: tuple[Template, ...] = Field(min_length=1, max_length=MOST_VARIANTS)
    """Templates of variants: a scheme, other engine settings, or both together."""
    search: Literal["exhaustive", "random", "optuna"] = "exhaustive"
    """`exhaustive`: all combinations; `random`: some of them; `optuna`: by earlier results."""
    samples: int | None = Field(default=None, ge=1, le=MOST_VARIANTS)
    """Number of variants to try; for `random` and `optuna`."""
    seed: Seed = 42
    """Seed of the draws. With the same seed, more samples extend the earlier ones."""
    max_concurrent: int | None = Field(default=None, ge=1)
    """Variants in progress at once; None: one for every engine slot, and one that is quantized ahead."""

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        if self.search == "exhaustive":
            self._takes_all()
        elif (corners := sum(prod(len(p.ends) for p in template.parameters) for template in self.templates)) > 100_000:
            raise mistake(f"{corners:,} combinations of choices and ends; at most 100,000: give fewer choices", "space")
        elif self.samples is None:
            message = f"missing; search {self.search} needs the number of variants to try"
            raise mistake(message, "samples")
        different = len(self.expanded) if self.search == "random" else self.size
        if different is not None and different < (self.samples or 0):
            message = (
                f"{self.samples} requested, but the space has {different} different variants; request fewer, or "
                "set search: exhaustive"
            )
            raise mistake(message, "samples")
        return self

    def _takes_all(self) -> None:
        if self.samples is not None:
            message = (
                f"{self.samples} requested, but search exhaustive tries all variants; remove it, or set search: random"
            )
            raise mistake(message, "samples")
        for position, template in enumerate(self.space):
            for parameter in template.stepless:
                message = (
                    f"{parameter.low} to {parameter.high} without a step has infinitely many values; add a step, or "
                    "set search: random or optuna"
                )
                raise mistake(message, "space", position, *parameter.field.split("."))
        if (size := self.size or 0) > MOST_VARIANTS:
            message = (
                f"{size:,} variants; at most {MOST_VARIANTS:,}: use larger steps, or set search: random with samples"
            )
            raise mistake(message, "space")

    @cached_property
    def templates(self) -> tuple[Template, ...]:
        """Those of the space, and behind them the base model in the ways to serve that a scheme is tried with."""
        return (*self.space, *(self.space[position].of_base for position in self.tuned))

    @cached_property
    def tuned(self) -> tuple[int, ...]:
        """Positions in the space of the templates whose engine settings the base model is tried with, too, as no
        template of the base has them."""
        of_base = {template.settings for template in self.space if template.kind is None}
        positions: list[int] = []
        for position, template in enumerate(self.space):
            known = any(self.space[other].serving == template.serving for other in positions)
            if template.settings and template.settings not in of_base and not known:
                positions.append(position)
        return tuple(positions)

    @property
    def size(self) -> int | None:
        """How many combinations there are, or None where a range has no step."""
        if any(template.stepless for template in self.templates):
            return None
        return sum(template.combinations for template in self.templates)

    @property
    def expanded(self) -> tuple[Variant, ...]:
        """The variants that are known before one is tried, each once; none for `optuna`."""
        return () if self.search == "optuna" else tuple(swept.variant for swept in self.possible.values())

    @cached_property
    def possible(self) -> dict[str, Swept]:
        """Variants by their names: all of them, or for `optuna` those at the corners of the space, so that what can
        come up is checked before one is tried. Two of one name are the same."""
        if self.search == "random":
            return self._drawn()
        swept: dict[str, Swept] = {}
        for index, template in enumerate(self.templates):
            for values in template.corners() if self.search == "optuna" else template.every():
                self._add(swept, index, values)
        return swept

    def parameters(self) -> tuple[tuple[Parameter, ...], ...]:
        """For each template the fields that vary; empty where it is one variant."""
        return tuple(template.parameters for template in self.templates)

    def variant(self, template_index: int, values: Mapping[str, Value]) -> Variant:
        """The variant of one combination, under a name made of what varies.

        Args:
            template_index: of `templates`.
            values: one for each field that varies; a number of a range is taken to the nearest that it has.

        Raises:
            ValueError: these are not the fields that vary, or not values that they may have.
        """
        template = self.templates[template_index]
        if set(values) != {parameter.field for parameter in template.parameters}:
            raise ValueError(
                f"sweep.space.{template_index}: values for {sorted(values)} do not match the varying fields"
            )
        taken = {p.field: p.taken(values[p.field]) for p in template.parameters}
        scheme, served = template.scheme(taken), template.served(taken)
        return template.variant(names.of(scheme, self._telling[template.kind], served), scheme, served)

    def _add(self, swept: dict[str, Swept], index: int, values: Mapping[str, Value]) -> None:
        """One more variant, unless it is there."""
        variant, others = self.variant(index, values), index - len(self.space)
        swept.setdefault(variant.name, Swept(variant, index if others < 0 else self.tuned[others]))

    def _drawn(self) -> dict[str, Swept]:
        """`samples` different variants, in the order of the draws, or fewer where there are no more."""
        draw = random.Random(self.seed)
        chances = [template.combinations for template in self.templates]
        left = sum(prod(parameter.count for parameter in template.parameters) for template in self.templates)
        seen: set[tuple[int, tuple[Value, ...]]] = set()
        swept: dict[str, Swept] = {}
        while len(swept) < (self.samples or 0) and len(seen) < left:
            (index,) = draw.choices(range(len(chances)), chances)
            values = {p.field: p.at(draw.randrange(p.count)) for p in self.templates[index].parameters}
            if (index, tuple(values.values())) not in seen:
                seen.add((index, tuple(values.values())))
                self._add(swept, index, values)
        return swept

    @cached_property
    def _telling(self) -> dict[str | None, tuple[str, ...]]:
        """By kind, the fields that tell its schemes apart."""
        kinds = {template.kind for template in self.templates}
        return {kind: names.telling_fields([t for t in self.templates if t.kind == kind]) for kind in kinds}
