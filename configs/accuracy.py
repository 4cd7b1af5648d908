"""What accuracy is measured on."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from configs.base import REPOSITORY, Seed, Settings, SoundPath

TASKS_FOLDER = REPOSITORY / "configs" / "tasks"
"""Local lm-eval tasks that every experiment may name."""
COMPARABLE = 2
"""Fewest documents of a task that have an interval."""


class GenKwargs(Settings):
    """Settings for writing an answer, which override those of the task's own file; None keeps the file's.

    There are no others: a model's `generation_config.json` does not affect an evaluation.
    """

    temperature: float | None = Field(default=None, ge=0)
    """0 is greedy; above 0, answers are sampled, which lm-eval calls `do_sample`."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Probability of the smallest set of tokens from which one is drawn."""
    top_k: int | None = Field(default=None, ge=1)
    """Number of likeliest tokens from which one is drawn."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    """Least probability of a token that may be drawn, as a share of the likeliest one's."""
    repetition_penalty: float | None = Field(default=None, gt=0)
    """Above 1, tokens that are already there become less likely."""
    max_gen_toks: int | None = Field(default=None, ge=1)
    """Longest answer, in tokens; the prompt gets the rest of the context."""
    until: tuple[str, ...] | None = None
    """Texts that end an answer, instead of the task's own."""

    def for_lm_eval(self) -> dict[str, Any]:
        """What is set, as lm-eval's `gen_kwargs`."""
        settings = self.model_dump(mode="json", exclude_none=True)
        return settings | ({} if self.temperature is None else {"do_sample": self.temperature > 0})


def local_task(name: str) -> Path | None:
    """The file of a task in configs/tasks; None where none has that name."""
    return next((file for file in sorted(TASKS_FOLDER.rglob("*.yaml")) if file.stem == name), None)


class Task(Settings):
    """One lm-eval task, stock or local."""

    name: str = Field(pattern=r"^\w[\w.+()-]*$", max_length=200)
    """Name of the task, never a pattern or a path: it also names the result files."""
    fewshot: int | None = Field(default=None, ge=0, le=10_000)
    """Number of answered examples before every question; None: the task's own number."""
    limit: int | None = Field(default=None, ge=COMPARABLE)
    """Number of documents, from the first on; None: all of them."""
    path: SoundPath | None = None
    """A YAML file that defines the task, if it is neither stock nor in configs/tasks."""
    cluster: str | None = None
    """Field of the documents that names their source, such as a passage: documents of one source are not independent,
    so their intervals are wider. Use it for sources that are a sample of more sources; subtasks of a group are not."""
    runs_code: bool = False
    """Whether your task file may run Python (`!function`, and templates that reach beyond a document), with all access
    of the evaluating process; lm-eval's own tasks need no permission."""
    data_files: dict[str, SoundPath] | None = None
    """Local JSON lines file of each split: runs a stock task without the hub."""
    metric: str | None = None
    """The metric of the task to judge, such as `acc_norm`; None: the task's own first metric."""
    filter: str | None = None
    """The filter of the task that reads answers, such as `flexible-extract`; None: its own first filter."""
    margin: float | None = Field(default=None, ge=0, le=100)
    """Largest loss in points. A point is 0.01 of a metric up to 1, and 1 of a metric up to 100 (bleu, chrf, ter).
    None: `decision.constraints.max_accuracy_drop`."""
    recovery: float | None = Field(default=None, gt=0, le=100)
    """Instead of a margin: the share of the baseline's value that must be kept, in percent."""
    gen_kwargs: GenKwargs = GenKwargs()
    """Settings for writing answers."""
    chat_template: bool | None = Field(default=None, exclude_if=lambda value: value is None)
    """Whether this task's questions are put as a chat; None: as in `accuracy.chat_template`."""
    seeds: int = Field(default=1, ge=1)
    """Number of answers to every document, sampled with `accuracy.seed` and the following seeds. The score is their
    mean (pass@1 over seeds). Variants are compared seed by seed; the document is the common source of its answers."""

    @model_validator(mode="after")
    def _one_criterion(self) -> "Task":
        if self.margin is not None and self.recovery is not None:
            raise ValueError(f"task {self.name!r} has a margin and a recovery; give one of them")
        return self


class Accuracy(Settings):
    """The tasks, and the engine that answers them.

    `served` uses the variant's own deployment, so that one engine start serves accuracy and load;
    `vllm` starts an engine in the evaluating actor; `hf` runs transformers there.
    """

    engine: Literal["served", "vllm", "hf"] = "served"
    """`served`: the benchmarked deployment answers; `vllm`, `hf`: a separate engine in the actor that owns the GPU."""
    tasks: tuple[Task, ...] = Field(min_length=1, max_length=1000)
    """lm-eval tasks, by name or with settings of their own."""
    chat_template: bool = False
    """Whether questions are put as a chat, by the model's own template, with examples as its turns."""
    system_instruction: str | None = Field(default=None, min_length=1)
    """A system prompt for every document of every task; without `chat_template`, text in front of the prompt."""
    concurrency: int = Field(default=16, ge=1, le=10_000)
    """Requests in progress at once (`served`), or the batch size (`vllm`, `hf`)."""
    allow_code: bool = False
    """Whether tasks may run code written by the model (humaneval, mbpp). The code runs where accuracy is measured, as
    the same user, in a process with a different home and no token, key or password in its environment. That is not a
    sandbox: the code can read this user's files and reach the network. If that matters, evaluate in a container."""
    control: bool = True
    """Whether the baseline is evaluated once more with a different batch size: any difference is noise."""
    seed: Seed = 42
    """Seed of few-shot examples and of sampled answers."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _plain_names(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value

    @field_validator("tasks")
    @classmethod
    def _each_once(cls, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        names = [task.name for task in tasks]
        for position, name in enumerate(names):
            if name in names[:position]:
                raise ValueError(f"{name!r} is listed twice, but results are stored by task name; remove one")
        return tasks
