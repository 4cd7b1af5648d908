"""Which metric of a task would be judged, and why none can be: by its task file, before any device is taken."""

from collections.abc import Sequence
from typing import Any

from configs.accuracy import Accuracy, Task
from configs.base import UserError
from configs.metrics import OF_METRICS, OF_OUTPUTS, PERPLEXITIES, kind_of


def scores(definition: dict[str, Any]) -> list[dict[str, Any]]:
    """Every metric of a task file under every filter, in its own order, as in a record (`actors.engines.lm_eval`), but
    with the name of its aggregation; `kind` is None where it cannot be judged."""
    listed = definition.get("metric_list")
    if listed is None:
        listed = [{"metric": name} for name in OF_OUTPUTS.get(str(definition.get("output_type")), ())]
    filters = [str(one["name"]) for one in definition.get("filter_list") or [{"name": "none"}]]
    found = []
    for one in listed:
        function = str(one["metric"]).removeprefix("!")
        aggregation = str(one.get("aggregation") or OF_METRICS.get(function, "unknown"))
        for metric in _names(function, one):
            known = {"metric": metric, "aggregation": aggregation, "kind": kind_of(metric, aggregation)}
            found += [{**known, "filter": name} for name in filters]
    return found


def _names(function: str, listed: dict[str, Any]) -> list[str]:
    """What a metric is called in the results: one function gives pass@k for every k that it is told (Chen et al. 2021,
    arXiv 2107.03374)."""
    asked = listed.get("k", []) if function == "pass_at_k" else []
    return [f"pass@{k}" for k in (asked if isinstance(asked, list) else [asked])] or [function]


def refusal(definition: dict[str, Any], asked: Task, *, allow_code: bool = False) -> str | None:
    """Why a task cannot be judged as it is asked for; None where it can.

    Args:
        allow_code: whether it may run code that a model wrote.
    """
    if "class" in definition:
        return "is written in Python, so that nothing is known of its metrics; choose one that has a metric_list"
    if definition.get("unsafe_code") and not allow_code:
        return (
            "runs code that the model wrote, where accuracy is measured; set accuracy.allow_code: true if that may be, "
            "or choose a task that reads answers"
        )
    if asked.fewshot and definition.get("num_fewshot") == 0:
        return f"is fixed at 0 examples, and lm-eval leaves it at that; set fewshot to 0, not {asked.fewshot}"
    if why := _answers_refused(definition, asked):
        return why
    every = scores(definition)
    fit = [score for score in every if score["kind"]]
    having = "; ".join(f"metric: {score['metric']}, filter: {score['filter']}" for score in fit) or "nothing"
    if not every or (asked.metric is None and every[0]["kind"] is None):
        first = f"{every[0]['metric']}, made by {every[0]['aggregation']}," if every else "no metric"
        return f"has {first} first, of which single documents say nothing; what can be judged: {having}"
    try:
        chosen = judged_score(asked.name, fit, asked)
    except UserError:
        wanted = ", ".join(filter(None, (asked.metric, asked.filter)))
        return f"has no {wanted} that can be judged; what can be: {having}"
    if chosen["kind"] in PERPLEXITIES and asked.margin is not None:
        return f"is a perplexity ({chosen['metric']}), which has no points; give recovery in place of margin"
    return None


def _answers_refused(definition: dict[str, Any], asked: Task) -> str | None:
    """Why answers cannot be written as it is asked for."""
    own, theirs = definition.get("generation_kwargs") or {}, asked.gen_kwargs.for_lm_eval()
    if definition.get("output_type", "generate_until") != "generate_until":
        if theirs or asked.seeds > 1:
            return "scores answers that are given, and writes none: gen_kwargs and seeds change nothing; leave them out"
        return None
    merged = {**own, **theirs}
    drawn = merged.get("do_sample") is not False and float(merged.get("temperature") or 0) > 0
    if asked.seeds > 1 and not drawn:
        return f"answers greedily, the same under each of {asked.seeds} seeds; set gen_kwargs: {{temperature: 0.6}}"
    return None


def judged_by(definitions: Sequence[dict[str, Any]], asked: Task, *, allow_code: bool = False) -> str:
    """The kind of the metric that a task is judged by, or all tasks of a group.

    Args:
        allow_code: as of `refusal`.

    Raises:
        UserError: it cannot be judged, or its tasks have metrics of their own.
    """
    found: dict[tuple[str, str], str] = {}
    for definition in definitions:
        name = str(definition.get("task", asked.name))
        if why := refusal(definition, asked, allow_code=allow_code):
            raise UserError(f"{name!r} {why}")
        score = judged_score(name, [score for score in scores(definition) if score["kind"]], asked)
        found.setdefault((score["metric"], score["kind"]), name)
    if len(found) > 1:
        each = ", ".join(f"{metric} of {name}" for (metric, _), name in found.items())
        raise UserError(f"{asked.name!r} has tasks with metrics of their own ({each}); name them one by one")
    return next(iter(found))[1] if found else "mean"


def someone_judges(accuracy: Accuracy, kinds: Sequence[str]) -> None:
    """Raise UserError where all tasks are perplexities, which are shown and judge nobody.

    Args:
        kinds: of every task, as of `judged_by`.
    """
    if all(kind in PERPLEXITIES and task.recovery is None for kind, task in zip(kinds, accuracy.tasks, strict=True)):
        raise UserError(
            "accuracy.tasks: perplexities alone are shown and judge nobody; add a task with right answers, or say with "
            "recovery how much of the base's must be kept"
        )


def judged_score(name: str, scores: Sequence[dict[str, Any]], asked: Task) -> dict[str, Any]:
    """What is judged of a task's scores, which stand in its own order: what is asked for, else the first.

    Raises:
        UserError: the task has no such metric, or no such filter.
    """
    fit = [score for score in scores if asked.metric in (None, score["metric"])]
    fit = [score for score in fit if asked.filter in (None, score["filter"])]
    if not fit:
        having = ", ".join(f"{score['metric']} ({score['filter']})" for score in scores) or "nothing"
        wanted = " with filter ".join(filter(None, (asked.metric, asked.filter))) or "a metric"
        raise UserError(f"accuracy.tasks: {wanted} of {name!r} cannot be judged; of that task can be: {having}")
    return fit[0]
