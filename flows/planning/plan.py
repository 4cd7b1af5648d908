"""From an experiment to its steps: what would be done, and which of it already has a record."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from actors.placement.slots import DeviceSlots, cpu_slots, gpu_slots
from configs.experiment import BASE, Experiment
from configs.hardware import Hardware
from configs.variants import Variant
from flows.planning.variant_plan import VariantPlan
from flows.planning.variant_steps import VariantSteps
from flows.store.results import Result
from flows.store.steps import Step


@dataclass(frozen=True)
class Plan:
    """Everything a run is going to do, decided before it touches a device."""

    experiment: Experiment
    hardware: Hardware
    slots: DeviceSlots
    compute_dtype: str
    variants: tuple[VariantPlan, ...]

    @property
    def baseline(self) -> VariantPlan:
        """The variant that all others are compared with."""
        return self.variants[0]

    @property
    def base(self) -> VariantPlan:
        """The base model as the experiment serves it; its checkpoint is what others are made from."""
        return next(variant for variant in self.variants if variant.name == BASE)

    @property
    def tried(self) -> tuple[VariantPlan, ...]:
        return tuple(variant for variant in self.variants if variant.left_out is None)

    def sizes(self, variant: VariantPlan) -> tuple[int, ...]:
        """Slots of the engine that a variant is benchmarked with, and of the baseline's in turn with it."""
        engines = (variant, self.baseline) if variant.beside_base else (variant,)
        return tuple(self.slots.taken_by(one.serving.gpus) for one in engines)

    def one_by_one(self, variant: VariantPlan) -> bool:
        """Whether no host has room for a variant's engine and the baseline's beside it: then one is started after the
        other."""
        return sum(self.sizes(variant)) > len(self.slots.engines)

    def fills_host(self, variant: VariantPlan) -> bool:
        """Whether its engine, or those of its block one after the other, leave no room for anybody else on a host."""
        return self.sizes(variant)[0] >= len(self.slots.engines) or self.one_by_one(variant)

    @property
    def steps(self) -> tuple[Step[Result], ...]:
        """Every step of every variant that is tried."""
        return tuple(step for variant in self.tried for step in variant.steps)


def make(experiment: Experiment, hardware: Hardware) -> Plan:
    """The plan of an experiment on a kind of hardware; pure but for reading files that it names."""
    slots = (
        cpu_slots(list(range(hardware.cores)), experiment.serving, experiment.loads.values())
        if hardware.on_cpu
        else gpu_slots(hardware.gpus, experiment.servings.values(), experiment.loads.values())
    )
    steps = VariantSteps(experiment, hardware, slots)
    variants = (steps.base, *map(steps.variant, experiment.candidates.known))
    baseline_first = tuple(sorted(variants, key=lambda variant: variant.name != experiment.baseline))
    return Plan(experiment, hardware, slots, hardware.compute_dtype, baseline_first)


def extended(plan: Plan, variants: Sequence[Variant]) -> Plan:
    """The same plan with further variants, which a search came upon."""
    steps = VariantSteps(plan.experiment, plan.hardware, plan.slots)
    names = {variant.name for variant in plan.variants}
    new = tuple(steps.variant(variant) for variant in variants if variant.name not in names)
    return replace(plan, variants=plan.variants + new)
