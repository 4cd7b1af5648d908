"""What is planned of one variant: its steps, in order."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.artifacts import Checkpoint, Evaluation
from configs.base import Settings
from configs.experiment import BASE
from configs.model import Model
from configs.schemes import Scheme
from configs.serving import Serving
from configs.variants import Variant
from flows.store.results import Benchmark, LookResult, Result
from flows.store.steps import Step


@dataclass(frozen=True)
class Look:
    """Some repeats of a load, after which one sees whether they are enough."""

    workload: str
    places: tuple[int, ...]
    """Of those that come with it, among the benchmarks."""
    step: Step[LookResult] | None
    """That says whether they are enough with all before them; None for the last repeats, which no others follow."""


@dataclass(frozen=True)
class VariantPlan:
    """The steps of one variant, in order. `left_out` says why a variant is not tried here."""

    name: str
    scheme: Scheme | None
    """How the base model is compressed for it; None of what is not compressed here."""
    model: Model | None
    """Where its checkpoint comes from, which is not made here; None with a scheme."""
    serving: Serving
    """How it is served, the experiment's settings included."""
    changes: Mapping[str, Any]
    """What of it differs from the experiment's `serving`."""
    checkpoint: Step[Checkpoint]
    evaluations: tuple[Step[Evaluation], ...]
    """One for each slice of the documents; one in all where nobody races."""
    proxy: Step[Evaluation] | None
    """A short text before all else, where variants race."""
    control: Step[Evaluation] | None
    """The baseline's evaluation again, in batches of another size."""
    benchmarks: tuple[Step[Benchmark], ...]
    """One for each repeat of every load, in the order of `Experiment.benchmarks`: the variant's turn and the
    baseline's, as what is compared is what was measured beside each other. At the most, where repeats end by
    themselves."""
    looks: tuple[Look, ...]
    """Of one load after the other."""
    price_per_hour: float | None = None
    """Of the devices of one of its engines; None where no price is known."""
    first_loads: frozenset[int] = frozenset()
    """Indices of the benchmarks of the first rung, where variants race and their load comes in two parts; else none."""
    left_out: str | None = None

    @property
    def variant(self) -> Variant:
        """As an experiment would list it; of one that is compressed here, or is the base served in another way."""
        return Variant.model_validate({"name": self.name, "scheme": self.scheme, "serving": self.changes})

    @property
    def in_words(self) -> str:
        """Its checkpoint, and how it is served otherwise than the base."""
        made = self.scheme.kind if self.scheme else self.model.label if self.model else ""
        changed = ", ".join(f"{name} {text}" for name, text in self.changes_as_text.items())
        return f"{made}, served with {changed}" if changed else made

    @property
    def changes_as_text(self) -> dict[str, str]:
        """Every changed setting as a text or JSON."""
        return {name: _as_text(value) for name, value in self.changes.items()}

    @property
    def is_told(self) -> bool:
        """Whether it is more than the base, or a scheme alone: its name may not say what it is."""
        return bool(self.changes) or (self.scheme is None and self.name != BASE)

    @property
    def beside_base(self) -> bool:
        """Whether it is benchmarked in turn with the baseline; of the baseline, whether with a second start of
        itself."""
        return all("base" in step.inputs for step in self.benchmarks)

    @property
    def engine_args(self) -> dict[str, Any]:
        """vLLM's, of all that it is served for."""
        arguments: dict[str, Any] = self.benchmarks[0].orders["engine_args"]
        return arguments

    @property
    def steps(self) -> tuple[Step[Result], ...]:
        single = [step for step in (self.proxy, self.control) if step]
        looks = [look.step for look in self.looks if look.step]
        return (self.checkpoint, *self.evaluations, *single, *self.benchmarks, *looks)


def _as_text(value: Any) -> str:
    if isinstance(value, Settings):
        value = value.model_dump(mode="json", exclude_unset=True)
    return value if isinstance(value, str) else json.dumps(value)
