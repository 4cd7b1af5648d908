"""What accuracy is measured on."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from configs.base import REPOSITORY, Seed, Settings, SoundPath

TASKS_FOLDER = REPOSITORY / "configs" / "tasks"
"""Local lm-eval tasks that every experiment may name."""


class GenKwargs(Settings):
    """How a model writes an answer, over what the task's own file says; None leaves that as it is.

    These are all of it: a model's `generation_config.json` has no say in an evaluation.
    """

    temperature: float | None = Field(default=None, ge=0)
    """0 is greedy; above it answers are drawn, which lm-eval calls `do_sample`."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Smallest set of tokens with so much probability that one is drawn from."""
    top_k: int | None = Field(default=None, ge=1)
    """Most likely tokens that one is drawn from."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    """Least probability of a token that may be drawn, as a share of the likeliest one's."""
    repetition_penalty: float | None = Field(default=None, gt=0)
    """Above 1: what stands there already becomes less likely."""
    max_gen_toks: int | None = Field(default=None, ge=1)
    """Longest answer, in tokens; the prompt has what this leaves of the context."""
    until: tuple[str, ...] | None = None
    """Texts that end an answer, in place of the task's own."""

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
    """A name is compared, never taken for a pattern or a path: results are files that bear it."""
    fewshot: int | None = Field(default=None, ge=0, le=10_000)
    """Answered examples in front of every question; None for the task's own number."""
    limit: int | None = Field(default=None, ge=2)
    """Only the first so many documents; None for all of them."""
    path: SoundPath | None = None
    """A YAML file that defines the task, for one that is neither stock nor in configs/tasks."""
    cluster: str | None = None
    """Field of the documents that names their source, such as a passage: documents of one source are not independent,
    and their intervals are wider. For sources that are drawn from more of them; subtasks of a group are not."""
    runs_code: bool = False
    """Whether a task file of yours may run Python (`!function`, and templates that reach beyond a document), with all
    that the evaluating process can reach; lm-eval's own tasks need no leave."""
    data_files: dict[str, SoundPath] | None = None
    """Split name to local JSON lines file: runs a stock task without the hub."""
    metric: str | None = None
    """Which of the task's metrics is judged, such as `acc_norm`; None for the task's own first one."""
    filter: str | None = None
    """By which of the task's filters answers are read, such as `flexible-extract`; None for its own first one."""
    margin: float | None = Field(default=None, ge=0, le=100)
    """Largest loss in points: hundredths of a metric that goes to 1, and one of a metric that goes to 100 (bleu, chrf,
    ter). None for `decision.constraints.max_accuracy_drop`."""
    recovery: float | None = Field(default=None, gt=0, le=100)
    """In place of a margin: how much of the base's value must be kept, in per cent."""
    gen_kwargs: GenKwargs = GenKwargs()
    """How answers are written."""
    chat_template: bool | None = Field(default=None, exclude_if=lambda value: value is None)
    """Whether this task's questions are put as a chat; None for `accuracy.chat_template`."""
    seeds: int = Field(default=1, ge=1)
    """Answers to every document, drawn with `accuracy.seed` and the seeds that follow it: the score is their mean
    (pass@1 over seeds). Variants are compared seed by seed; the answers to one document share it as their source."""

    @model_validator(mode="after")
    def _one_criterion(self) -> "Task":
        if self.margin is not None and self.recovery is not None:
            raise ValueError(f"task {self.name!r} has a margin and a recovery; give one of them")
        return self


class Accuracy(Settings):
    """The tasks, and the engine that answers them.

    `served` asks the variant's own deployment, so that one engine start serves accuracy and load;
    `vllm` starts an engine in the evaluating actor; `hf` runs transformers there.
    """

    engine: Literal["served", "vllm", "hf"] = "served"
    """`served`: the deployment that is benchmarked answers; `vllm`, `hf`: an engine of its own in the actor that owns
    the GPU."""
    tasks: tuple[Task, ...] = Field(min_length=1, max_length=1000)
    """lm-eval tasks, by name or with settings of their own."""
    chat_template: bool = False
    """Whether questions are put as a chat, by the model's own template, examples as turns of it."""
    system_instruction: str | None = Field(default=None, min_length=1)
    """A system prompt for every document of every task; without `chat_template`, text in front of the prompt."""
    concurrency: int = Field(default=16, ge=1, le=10_000)
    """Requests under way at once (`served`), or the batch size (`vllm`, `hf`)."""
    allow_code: bool = False
    """Whether tasks may run code that the model wrote (humaneval, mbpp). It runs where accuracy is measured, as the
    same user, in a process whose environment has no token, key or password, and another home. That is no sandbox: it
    can read what this user can read, and reach the network. Where that matters, evaluate in a container."""
    control: bool = True
    """Whether the base is evaluated once more, in batches of another size: what differs then is noise."""
    seed: Seed = 42
    """Of few-shot examples and of drawn answers."""

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
                raise ValueError(f"{name!r} stands twice, and results bear a task's name; leave one out")
        return tasks
