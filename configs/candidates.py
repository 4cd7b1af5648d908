"""The variants of an experiment beside the base: those that are listed, and those of a sweep."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from configs.schemes import Scheme
from configs.serving import Serving
from configs.sweep import Sweep
from configs.variants import Variant

Placed = tuple[tuple[str, Variant], ...]
"""Variants with the keys that lead to them in the file."""


@dataclass(frozen=True)
class Candidates:
    """The variants of an experiment that serves its base in some way."""

    schemes: tuple[Scheme, ...]
    variants: tuple[Variant, ...]
    sweep: Sweep | None
    serving: Serving

    @cached_property
    def known(self) -> tuple[Variant, ...]:
        """Those that are known before the run: of the listed schemes, of the sweep, then the other listed ones."""
        of_sweep = self._swept if self.sweep and self.sweep.search != "optuna" else ()
        of_schemes, others = self._listed[: len(self.schemes)], self._listed[len(self.schemes) :]
        return tuple(variant for _, variant in (*of_schemes, *of_sweep, *others))

    @property
    def possible(self) -> Placed:
        """All; behind the listed ones those of the sweep, or those that stand for what a search may still come up
        with."""
        return (*self._listed, *self._swept)

    @cached_property
    def schemes_by_path(self) -> tuple[tuple[str, Scheme], ...]:
        """Every scheme of those once, with the keys that lead to it in the file."""
        found: dict[Scheme, tuple[str, Scheme]] = {}
        for path, variant in self.possible:
            if scheme := variant.scheme:
                own = f"{path}.scheme" if path.startswith("variants.") else path
                found.setdefault(scheme.bare, (own, scheme))
        return tuple(found.values())

    @cached_property
    def paths(self) -> dict[str, str]:
        """The keys that lead to a variant, by its name."""
        return {variant.name: path for path, variant in self.possible}

    def identity(self, variant: Variant | None) -> tuple[Any, ...]:
        """What a variant is but for its name: equal for two that serve the same checkpoint in the same way.

        Args:
            variant: None for the base.

        Raises:
            ValueError: its settings contradict the base's.
        """
        if variant is None:
            return (None, None, self.serving.model_dump_json())
        scheme = variant.scheme.bare if variant.scheme else None
        serving = variant.served(self.serving) if variant.changes else self.serving
        return (scheme, variant.checkpoint, serving.model_dump_json())

    @property
    def listed(self) -> tuple[str, ...]:
        """Names of the variants that the file lists one by one."""
        return tuple(variant.name for _, variant in self._listed)

    def check_names(self, base: str) -> None:
        """Raise ValueError if there is no variant, or a name is used twice.

        Args:
            base: the name of the base.
        """
        searched = self.sweep is not None and self.sweep.search == "optuna"
        if not (self.known or searched):
            if self.sweep:
                raise ValueError("sweep: has only the base as it is served anyway; give a scheme or other settings")
            raise ValueError("schemes: empty; list at least one, or give a `sweep` or `variants`")
        listed = self.listed
        if taken := sorted({variant.name for _, variant in self._swept} & set(listed)):
            raise ValueError(
                f"{self._section(taken[0])}: the name {taken[0]!r} is used by a variant of the sweep with different "
                "settings; give the listed one another `name`"
            )
        if twice := sorted({name for name in listed if listed.count(name) > 1}):
            raise ValueError(
                f"{self._section(twice[0])}: the name {twice[0]!r} is used twice; give each its own `name`"
            )
        if base in listed:
            raise ValueError(
                f"{self._section(base)}: the name {base!r} is reserved for the base model; choose another `name`"
            )

    def _section(self, variant: str) -> str:
        return "variants" if variant in (listed.name for listed in self.variants) else "schemes"

    @cached_property
    def _listed(self) -> Placed:
        of_schemes = (Variant(name=scheme.name, scheme=scheme) for scheme in self.schemes)
        return (
            *((f"schemes.{position}", variant) for position, variant in enumerate(of_schemes)),
            *((f"variants.{position}", variant) for position, variant in enumerate(self.variants)),
        )

    @cached_property
    def _swept(self) -> Placed:
        """Of the sweep, but neither what is listed anyway, nor the base as it is served."""
        known, new = {self.identity(variant) for variant in (None, *(listed for _, listed in self._listed))}, []
        for swept in self.sweep.possible.values() if self.sweep else ():
            path = f"sweep.space.{swept.position}"
            try:
                identity = self.identity(swept.variant)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            if identity not in known:
                known.add(identity)
                new.append((path, swept.variant))
        return tuple(new)
