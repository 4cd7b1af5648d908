"""Which metric of a task would be judged, and why none can be: by its task file, before any device is taken."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from configs.accuracy import Accuracy, Task
from configs.base import UserError
from configs.metrics import OF_METRICS, OF_OUTPUTS, PERPLEXITIES, Kind, kind_of


class Named(Protocol):
    """A metric under a filter: a task file's, or one that a record has (`actors.artifacts.Score`)."""

    @property
    def metric(self) -> str: ...

    @property
    def filter(self) -> str: ...


_Named = TypeVar("_Named", bound=Named)


@dataclass(frozen=True)
class FileScore:
    """A metric of a task file under a filter."""

    metric: str
    filter: str
    kind: Kind | None
    """None where it cannot be judged."""
    aggregation: str


def scores(definition: dict[str, Any]) -> list[FileScore]:
    """Every metric of a task file under every filter, in its own order, as in a record."""
    listed = definition.get("metric_list")
    if listed is None:
        listed = [{"metric": name} for name in OF_OUTPUTS.get(str(definition.get("output_type")), ())]
    filters = [str(entry["name"]) for entry in definition.get("filter_list") or [{"name": "none"}]]
    all_scores = []
    for entry in listed:
        function = str(entry["metric"]).removeprefix("!")
        aggregation = str(entry.get("aggregation") or OF_METRICS.get(function, "unknown"))
        for metric in _names(function, entry):
            kind = kind_of(metric, aggregation)
            all_scores += [FileScore(metric, name, kind, aggregation) for name in filters]
    return all_scores


def _names(function: str, listed: dict[str, Any]) -> list[str]:
    """What a metric is called in the results: one function gives pass@k for every k in its settings (Chen et al. 2021,
    arXiv 2107.03374)."""
    k_setting = listed.get("k", []) if function == "pass_at_k" else []
    return [f"pass@{k}" for k in (k_setting if isinstance(k_setting, list) else [k_setting])] or [function]


def refusal(definition: dict[str, Any], task: Task, *, allow_code: bool = False) -> str | None:
    """Why a task cannot be judged as its settings say; None where it can.

    Args:
        allow_code: whether it may run code that a model wrote.
    """
    if "class" in definition:
        return "is written in Python, so its metrics are not known; choose one that has a metric_list"
    if definition.get("unsafe_code") and not allow_code:
        return (
            "runs code written by the model during evaluation; set accuracy.allow_code: true to allow that, or choose "
            "a task that only reads answers"
        )
    if task.fewshot and definition.get("num_fewshot") == 0:
        return f"is fixed at 0 examples, which lm-eval does not change; set fewshot to 0, not {task.fewshot}"
    if why := _answers_refused(definition, task):
        return why
    every = scores(definition)
    fit = [score for score in every if score.kind]
    having = "; ".join(f"metric: {score.metric}, filter: {score.filter}" for score in fit) or "nothing"
    if not every or (task.metric is None and every[0].kind is None):
        why = "has no metric"
        if every:
            made = f"{every[0].metric} (made by {every[0].aggregation})"
            why = f"has {made} as its first metric, which has no value for a single document"
        return f"{why}; these can be judged: {having}"
    try:
        chosen = judged_score(task.name, fit, task)
    except UserError:
        wanted = ", ".join(filter(None, (task.metric, task.filter)))
        return f"has no {wanted} that can be judged; these can be judged: {having}"
    if chosen.kind in PERPLEXITIES and task.margin is not None:
        return f"is a perplexity ({chosen.metric}), for which points have no meaning; set recovery instead of margin"
    return None


def _answers_refused(definition: dict[str, Any], task: Task) -> str | None:
    """Why answers cannot be written as the task's settings say."""
    own, theirs = definition.get("generation_kwargs") or {}, task.gen_kwargs.for_lm_eval()
    if definition.get("output_type", "generate_until") != "generate_until":
        if theirs or task.seeds > 1:
            return "scores given answers and generates none: gen_kwargs and seeds have no effect; remove them"
        return None
    merged = {**own, **theirs}
    drawn = merged.get("do_sample") is not False and float(merged.get("temperature") or 0) > 0
    if task.seeds > 1 and not drawn:
        return f"answers greedily, so all {task.seeds} seeds give the same; set gen_kwargs: {{temperature: 0.6}}"
    return None


def judged_by(definitions: Sequence[dict[str, Any]], task: Task, *, allow_code: bool = False) -> str:
    """The kind of the metric that a task is judged by, or all tasks of a group.

    Args:
        allow_code: as of `refusal`.

    Raises:
        UserError: it cannot be judged, or its tasks have metrics of their own.
    """
    name_by_metric: dict[tuple[str, str], str] = {}
    for definition in definitions:
        name = str(definition.get("task", task.name))
        if why := refusal(definition, task, allow_code=allow_code):
            raise UserError(f"{name!r} {why}")
        score = judged_score(name, [score for score in scores(definition) if score.kind], task)
        name_by_metric.setdefault((score.metric, str(score.kind)), name)
    if len(name_by_metric) > 1:
        each = ", ".join(f"{metric} of {name}" for (metric, _), name in name_by_metric.items())
        raise UserError(f"{task.name!r} has tasks with metrics of their own ({each}); name them one by one")
    return next(iter(name_by_metric))[1] if name_by_metric else "mean"


def someone_judges(accuracy: Accuracy, kinds: Sequence[str]) -> None:
    """Raise UserError where all tasks are perplexities, which are shown and judge nobody.

    Args:
        kinds: of every task, as of `judged_by`.
    """
    if all(kind in PERPLEXITIES and task.recovery is None for kind, task in zip(kinds, accuracy.tasks, strict=True)):
        raise UserError(
            "accuracy.tasks: perplexities alone are shown, not judged; add a task with right answers, or set recovery "
            "to the share of the baseline's value that must be kept"
        )


def judged_score(name: str, scores: Sequence[_Named], task: Task) -> _Named:
    """What is judged of a task's scores, which stand in its own order: the one that its settings name, else the first.

    Raises:
        UserError: the task has no such metric, or no such filter.
    """
    fit = [score for score in scores if task.metric in (None, score.metric)]
    fit = [score for score in fit if task.filter in (None, score.filter)]
    if not fit:
        having = ", ".join(f"{score.metric} ({score.filter})" for score in scores) or "nothing"
        wanted = " with filter ".join(filter(None, (task.metric, task.filter))) or "a metric"
        raise UserError(
            f"accuracy.tasks: {wanted} of {name!r} cannot be judged; these metrics of the task can be judged: {having}"
        )
    return fit[0]
