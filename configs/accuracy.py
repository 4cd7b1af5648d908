"""What accuracy is measured on."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from configs.base import REPOSITORY, Settings

TASKS_FOLDER = REPOSITORY / "configs" / "tasks"
"""Local lm-eval tasks that every experiment may name."""


class Task(Settings):
    """One lm-eval task, stock or local."""

    name: str
    fewshot: int = Field(default=0, ge=0)
    limit: int | None = Field(default=None, ge=2)
    """Only the first so many documents; None for all of them."""
    path: Path | None = None
    """A YAML file that defines the task, for one that is neither stock nor in configs/tasks."""
    cluster: str | None = None
    """Field of the documents that names their source, such as a passage or a subject: documents of one
    source are not independent, and their intervals are wider. Subtasks of a group are sources too."""
    data_files: dict[str, Path] | None = None
    """Split name to local JSON lines file: runs a stock task without the hub."""


class Accuracy(Settings):
    """The tasks, and the engine that answers them.

    `served` asks the variant's own deployment, so that one engine start serves accuracy and load;
    `vllm` starts an engine in the evaluating actor; `hf` runs transformers there.
    """

    engine: Literal["served", "vllm", "hf"] = "served"
    tasks: tuple[Task, ...] = Field(min_length=1)
    chat_template: bool = False
    concurrency: int = Field(default=16, ge=1)
    """Requests under way at once (`served`), or the batch size (`vllm`, `hf`)."""
    control: bool = True
    """Whether the base is evaluated once more, in batches of another size: what differs then is noise."""
    seed: int = 42

    @field_validator("tasks", mode="before")
    @classmethod
    def _plain_names(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value
