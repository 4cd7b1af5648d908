"""What the documents of an evaluation answered, by the one metric of each task that is judged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from actors.artifacts import Evaluation, Score
from configs.accuracy import Task
from configs.base import UserError
from configs.metrics import OF_SUMS, Kind
from flows.analysis import corpus_metrics
from flows.planning.judgeable import judged_score
from flows.store.records import Record


@dataclass(frozen=True)
class TaskAnswers:
    """The metric of one task that is judged, document by document."""

    metric: str
    higher_is_better: bool
    values: dict[str, Any]
    """By a document's index and the hash of its prompt, as `kind` has it; each of several `items` by itself."""
    sources: dict[str, str]
    """The source that a document shares with others, by the same keys; empty where each has its own."""
    filter: str = "none"
    kind: Kind = "mean"
    margin: float | None = None
    """Largest loss in the metric's own unit; None for the experiment's."""
    subtasks: dict[str, str] = field(default_factory=dict)
    """By the same keys the subtask of a document, where every subtask of a group counts the same; else empty."""
    recovery: float | None = None
    """Smallest share of the baseline's value that is required instead of a margin."""

    @property
    def means(self) -> bool:
        """Whether the metric is the mean of what documents have."""
        return self.kind in ("mean", "items")


Answers = dict[str, TaskAnswers]
"""By task as the experiment names it. The subtasks of a group are one task: they are all that there are of the group,
and only their documents were drawn from more."""


def read(evaluations: Sequence[Record[Evaluation]], tasks: Sequence[Task]) -> Answers:
    """Every document's value, from the samples beside the records of one evaluation's slices."""
    settings = {task.name: task for task in tasks}
    answers: Answers = {}
    for evaluation, name, figures in ((e, *item) for e in evaluations for item in e.result.tasks.items()):
        group = figures.asked or name
        setting = settings.get(group, Task(name=group))
        score = judged_score(name, figures.scores, setting)
        task = answers.setdefault(group, _none_yet(score, setting))
        if (task.metric, task.kind) != (score.metric, score.kind):
            raise UserError(f"accuracy.tasks: {group!r} has subtasks with metrics of their own; name them one by one")
        with evaluation.files.held() as folder, (folder / f"{name}.jsonl").open() as samples:
            for row in map(json.loads, samples):
                if row.get("filter", score.filter) == score.filter and row.get(score.metric) is not None:
                    _add(task, name, row, setting.cluster, alike=figures.alike)
    return answers


def _none_yet(score: Score, task: Task) -> TaskAnswers:
    points = 1.0 if score.kind in OF_SUMS else 0.01
    return TaskAnswers(
        metric=score.metric,
        higher_is_better=score.higher_is_better,
        values={},
        sources={},
        filter=score.filter,
        kind=score.kind,
        margin=task.margin * points if task.margin is not None else None,
        recovery=task.recovery / 100 if task.recovery is not None else None,
    )


def _add(task: TaskAnswers, name: str, row: dict[str, Any], cluster: str | None, *, alike: bool) -> None:
    """One document. Its items, and the answers that were drawn to it, are as many values that share it as their
    source."""
    document, value = f"{name}/{row['doc_id']}/{row['doc_hash']}", row[task.metric]
    key = f"{document}/{row['seed']}" if "seed" in row else document
    several = task.kind == "items" or "seed" in row
    values = {f"{key}/{index}": item for index, item in enumerate(value)} if task.kind == "items" else {key: value}
    if task.kind == "perplexity" and not isinstance(value, list):
        values = {key: [value, 1.0]}
    task.values.update(values)
    if alike:
        task.subtasks.update(dict.fromkeys(values, name))
    source = str(row["doc"][cluster]) if cluster else document if several else None
    if source is not None:
        task.sources.update(dict.fromkeys(values, source))


def weights(answers: TaskAnswers, keys: Sequence[str]) -> np.ndarray:
    """What each of these documents counts, 1 on average: the same, unless their subtasks do."""
    if not answers.subtasks:
        return np.ones(len(keys))
    _, subtask, sizes = np.unique([answers.subtasks[key] for key in keys], return_inverse=True, return_counts=True)
    counts: np.ndarray = len(keys) / (len(sizes) * sizes[subtask])
    return counts


def overall(answers: Answers) -> dict[str, float]:
    """The judged metric of every task over all its documents, by `task.metric`."""
    metrics = {}
    for task, answered in answers.items():
        if answered.means:
            values = np.array(list(answered.values.values()), dtype=float)
            value = float((values * weights(answered, list(answered.values))).mean())
        else:
            pairs = [(document, document) for document in answered.values.values()]
            value = float(
                corpus_metrics.value_of(answered.kind, corpus_metrics.sums_of(answered.kind, pairs)[0].sum(0))
            )
        metrics[f"{task}.{answered.metric}"] = value
    return metrics
