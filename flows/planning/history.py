"""How long a step will take, from records of the same kind, or by stated assumptions. Pure functions.

A step's seconds come from the nearest record on the same hardware, scaled where time is known to be proportional:
evaluation by documents, calibration by tokens, load by its configured seconds.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

from actors.artifacts import Checkpoint, Evaluation
from configs.load import WARMING_S
from flows.store.records import Record
from flows.store.results import Benchmark, R, Result
from flows.store.steps import Step

_PREPARE_S = 60.0
_START_S = {"cpu": 60.0, "cuda": 75.0}
"""Of an 8B model on an H100 or H200: 85 to 104 s where nothing was compiled before, 48 to 67 s afterwards."""
_PASSES = 2
"""Through the grid while an engine warms up, as a rule."""
_SAVING_S_PER_1E9 = 3.5
"""Reading and writing checkpoints of so many parameters: FP8 of 8e9 took 39 and 45 s on H100 and H200."""
_END_S = {"cpu": 6.0, "cuda": 15.0}
"""From an engine's last load to the start of the next one in its place: 13 to 16 s were measured on an H200."""
_POINT_S = {"cpu": 1.8, "cuda": 4.0}
"""Beside the load of one point: GuideLLM on idle cores, and with ten client processes (3 to 5 s were measured)."""
_IDLE_POWER_S = {"cpu": 0.0, "cuda": 8.0}
"""In which an engine's GPUs are measured without a request (`actors.programs.energy`)."""
_DOCUMENTS_PER_S = {"cpu": 1.0, "cuda": 130.0}
"""Of a model with 1e9 parameters, four answers each: 7.5 a second of 0.135e9 on 2 cores were measured; on a GPU it is
2 operations a parameter and 400 tokens a document at 1e14 a second."""
_TOKENS_PER_S = {"cpu": 13.0, "cuda": 9500.0}
"""Calibration tokens, of a model with 1e9 parameters: GPTQ of 0.135e9 on 2 cores took 42 s for 4,096, and of 8e9 on an
H100 110 s for 131,072 (tests/bench/README.md)."""
_UNKNOWN_SIZE = {"cpu": 0.25e9, "cuda": 8e9}
"""Parameters of a base model whose size nobody tells before it is fetched, as a wheel's."""
_UNLIMITED = 1000
"""Documents of a task whose number is not known yet."""


@dataclass(frozen=True)
class Figure:
    """Seconds, and what they rest on."""

    seconds: float
    assumed: str = ""
    """The assumption in words, with its figure; empty where a record tells."""


class History:
    """What earlier records say about steps to come."""

    def __init__(
        self,
        records: Iterable[Record[Result]],
        hardware: str,
        accelerator: str,
        parameters: float | None,
        documents: Mapping[str, int] | None = None,
    ) -> None:
        """Args:
        parameters: of the base model, where they are known; assumptions scale with them.
        documents: of tasks by name, where they can be counted.
        """
        self._counted = documents or {}
        self._records: list[Record[Any]] = [r for r in records if _can_be_read(r) and _hardware(r) in (None, hardware)]
        self._accelerator = accelerator
        self._billions = (parameters or _UNKNOWN_SIZE[accelerator]) / 1e9
        unknown = f" or the model's size: {self._billions:g}e9 parameters"
        self._without = "without a record" if parameters else f"without a record{unknown}"

    def seconds(self, step: Step[Result]) -> Figure:
        """How long a step will take; a benchmark on one of its engines."""
        by_kind: dict[str, Callable[[Step[Any]], Figure]] = {
            "prepare": self._prepare,
            "quantize": self._quantize,
            "evaluate": self._evaluate,
            "benchmark": self._benchmark,
        }
        return by_kind[step.kind](step)

    def start(self, step: Step[Benchmark]) -> Figure:
        """How long the engine takes to be up for a benchmark, its comparison with the reference included."""
        nearest = self._nearest(step, _engine)
        if not nearest:
            return self._assumed("start of an engine", _START_S[self._accelerator])
        took = [r.result.deployment.seconds + (r.result.reference.seconds or 0.0) for r in nearest]
        return Figure(statistics.median(took))

    def warming(self, step: Step[Benchmark]) -> Figure:
        """How long an engine is warmed up for the load of a benchmark."""
        load = step.settings["load"]
        nearest = self._nearest(
            step,
            lambda settings: _points(settings["load"]),
            lambda past: past.result.deployment.warming_s is not None,
        )
        if nearest:
            return Figure(statistics.median(r.result.deployment.warming_s or 0.0 for r in nearest))
        once = _points(load) * (min(load["duration_s"], WARMING_S) + _POINT_S[self._accelerator])
        return self._assumed("warming an engine up", _PASSES * once + _IDLE_POWER_S[self._accelerator])

    @property
    def end(self) -> Figure:
        """How long it takes after an engine's work until the next can start in its place."""
        seconds = _END_S[self._accelerator]
        return Figure(seconds, f"end of an engine: assumed {seconds:.0f} s")

    def _prepare(self, step: Step[Checkpoint]) -> Figure:
        nearest = self._nearest(step, lambda settings: settings.get("model"))
        if nearest:
            return Figure(nearest[0].seconds)
        return self._assumed("preparing a base model", _PREPARE_S)

    def _quantize(self, step: Step[Checkpoint]) -> Figure:
        base = step.inputs.get("base")
        nearest = self._nearest(step, _modifiers, lambda past: past.inputs.get("base") == base)
        tokens = _tokens(step.settings)
        if nearest:
            record = nearest[0]
            phase = record.result.seconds.get("quantize", 0.0)
            ratio = tokens / _tokens(record.settings) if tokens and _tokens(record.settings) else 1.0
            return Figure(record.seconds + phase * (ratio - 1))
        seconds = 20 + self._billions * (_SAVING_S_PER_1E9 + tokens / _TOKENS_PER_S[self._accelerator])
        return self._sized("quantizing", seconds)

    def _evaluate(self, step: Step[Evaluation]) -> Figure:
        documents = self._documents(step)
        nearest = self._nearest(step, _task_names)
        if nearest:
            done = sum(scores.documents for scores in nearest[0].result.tasks.values())
            return Figure(nearest[0].seconds * (sum(documents.values()) / done if done else 1.0))
        answering_s = sum(documents.values()) * self._billions / _DOCUMENTS_PER_S[self._accelerator]
        counted = f"evaluating ({sum(documents.values())} documents)"
        return self._sized(counted, 25 + answering_s)

    def _benchmark(self, step: Step[Benchmark]) -> Figure:
        load = step.settings["load"]
        nearest = self._nearest(step, lambda _: None)
        points, measured = _points(load), _configured(load)
        if not nearest:
            overhead = _POINT_S[self._accelerator]
            return self._assumed("overhead of each point of a load", overhead, extra=measured, times=points)
        beside = [(_seconds_of_one(r) - _configured(r.settings["load"])) / _points(r.settings["load"]) for r in nearest]
        return Figure(measured + points * max(0.0, statistics.median(beside)))

    def _documents(self, step: Step[Evaluation]) -> dict[str, int]:
        """Documents of each task that a step asks for."""
        first, last = step.settings.get("share") or (0.0, 1.0)
        documents = {}
        for task in step.settings["tasks"]:
            name = task["name"]
            whole = task["limit"] or self._recorded_documents(name) or self._counted.get(name) or _UNLIMITED
            documents[name] = math.ceil(whole * (last - first))
        return documents

    def _recorded_documents(self, task: str) -> int:
        """Of a task without a limit, as it was once answered in full."""
        full = [
            sum(scores.documents for scores in r.result.tasks.values() if scores.asked == task)
            for r in self._records
            if isinstance(r.result, Evaluation) and not r.identity["settings"].get("share")
        ]
        return max(full, default=0)

    def _nearest(
        self,
        step: Step[R],
        same: Callable[[dict[str, Any]], Any],
        wanted: Callable[["_PastStep[R]"], bool] = lambda _: True,
    ) -> "list[_PastStep[R]]":
        """Records of the step's kind that fit, the nearest first: of the same checkpoint, then of the same variant,
        then the latest; of them only those that are as near as the first.

        Args:
            same: what of the settings has to be the same.
        """
        aspect = same(dict(step.settings))

        def fits(past: "_PastStep[R]") -> bool:
            try:
                return wanted(past) and bool(same(past.settings) == aspect)
            except (KeyError, TypeError, AttributeError):
                return False  # its settings are of an older shape

        of_kind = (_PastStep[R](record) for record in self._records if record.kind == step.kind)
        fitting = [past for past in of_kind if fits(past)]

        def distance(past: "_PastStep[R]") -> tuple[bool, bool]:
            other = past.inputs.get("checkpoint") != step.inputs.get("checkpoint")
            return (other, past.variant != step.variant)

        nearest = min(map(distance, fitting), default=(True, True))
        alike = [past for past in fitting if distance(past) == nearest]
        return sorted(alike, key=lambda past: past.finished_at, reverse=True)

    def _sized(self, what: str, seconds: float) -> Figure:
        """What scales with the model."""
        return Figure(seconds, f"{what}: assumed {seconds:.0f} s, {self._without}")

    def _assumed(self, what: str, seconds: float, *, extra: float = 0.0, times: int = 1) -> Figure:
        return Figure(extra + times * seconds, f"{what}: assumed {seconds:.0f} s, without a record")


class _PastStep(Generic[R]):
    """A record, with the settings of its step at hand."""

    def __init__(self, record: Record[R]) -> None:
        self.variant = record.variant
        self.result, self.seconds, self.finished_at = record.result, record.seconds, record.finished_at
        self.settings: dict[str, Any] = record.identity["settings"]
        self.inputs: dict[str, str] = record.identity["inputs"]


def _can_be_read(record: Record[Result]) -> bool:
    """Whether a record's settings have the shape of today's; an older one tells nothing, and is in nobody's way."""
    settings = record.identity.get("settings")
    if not isinstance(settings, dict) or not isinstance(record.identity.get("inputs"), dict):
        return False
    try:
        return record.kind != "benchmark" or _configured(settings["load"]) > 0
    except (KeyError, TypeError):
        return False


def _seconds_of_one(past: "_PastStep[Benchmark]") -> float:
    """That the load took on one engine, where the variant and the baseline were loaded one after the other."""
    turns = 2 if past.result.base and not past.result.company else 1
    return (past.seconds if past.result.load_s is None else past.result.load_s) / turns


def _hardware(record: Record[Result]) -> str | None:
    """Where a record was made; None where it does not say."""
    name: str | None = record.where.get("hardware") or record.identity["settings"].get("hardware")
    return name


def _engine(settings: dict[str, Any]) -> Any:
    return settings.get("engine_cores"), settings.get("engine_args", {}).get("enforce_eager")


def _modifiers(settings: dict[str, Any]) -> list[str]:
    """Names of a recipe's modifiers, in order."""
    stages = settings["recipe"].values()
    groups = [group for stage in stages if isinstance(stage, dict) for group in stage.values()]
    return [name for group in groups if isinstance(group, dict) for name in group]


def _tokens(settings: Any) -> int:
    calibration = settings["calibration"]
    return calibration["samples"] * calibration["sequence_length"] if calibration else 0


def _task_names(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Names with their numbers of examples, which are None where a task's own counts."""
    return sorted((task["name"], str(task["fewshot"])) for task in settings["tasks"])


def _points(load: Any) -> int:
    return len(load["streams"] if load["kind"] == "concurrent" else load["rates"])


def _configured(load: Any) -> float:
    return float(_points(load) * (load["duration_s"] + load["warmup_s"]))
