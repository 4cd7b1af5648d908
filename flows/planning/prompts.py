"""The prompts of an evaluation: whether they fit a model's context, and what a run reports of those that did not."""

from collections.abc import Iterator
from typing import Any

from actors.artifacts import Evaluation
from configs.accuracy import Task, local_task
from configs.base import UserError
from flows.planning import sizes, stock_tasks
from flows.planning.engine_arguments import engine_args
from flows.planning.plan import Plan
from flows.store.records import Store

_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx")
"""Names in a `config.json` for the positions that a model knows."""
_STRETCHED = ("linear", "dynamic", "yarn", "longrope", "su")
"""Ways to scale rotary embeddings after which the configured number is not what the model can take."""
_LONGEST_ANSWER = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names in a task file for the most tokens of an answer; lm-eval takes the first that is there."""


def check(plan: Plan) -> None:
    """Raise UserError where the context that is configured is longer than the model's, or shorter than an answer."""
    length = engine_args(plan.experiment.serving, plan.hardware)["max_model_len"]
    if not isinstance(length, int):
        return
    model = sizes.model_of(plan, Store.of(plan.experiment.storage))
    positions = positions_of(model.config) if model and model.config else None
    if positions and length > positions:
        raise UserError(
            f"serving.max_model_len: {length} tokens requested, the model's config.json has {positions} positions; "
            f"set it to {positions} or less"
        )
    for index, task in enumerate(plan.experiment.accuracy.tasks):
        for definition in definitions(task, plan.hardware.accelerator):
            if (longest := longest_answer(definition, task)) and longest >= length:
                raise UserError(
                    f"accuracy.tasks.{index}: {definition.get('task', task.name)!r} generates up to {longest} tokens, "
                    f"and serving.max_model_len {length} leaves no room for its prompt; raise it, or set "
                    "gen_kwargs: {max_gen_toks: ...} of the task"
                )


def positions_of(config: dict[str, Any]) -> int | None:
    """How many positions a model has by its `config.json`; None where more may be possible."""
    text = config.get("text_config") or config
    scaling = text.get("rope_scaling") or text.get("rope_parameters") or {}
    each = [scaling, *(part for part in scaling.values() if isinstance(part, dict))]  # one for all layers, or several
    if "model_max_length" in config or any((part.get("rope_type") or part.get("type")) in _STRETCHED for part in each):
        return None
    limits = [text[name] for name in _POSITIONS if isinstance(text.get(name), int)]
    return min(limits) if limits else None


def longest_answer(definition: dict[str, Any], task: Task) -> int | None:
    """The most tokens that an answer may have; None where nothing is written, or lm-eval's own number holds."""
    if definition.get("output_type", "generate_until") != "generate_until":
        return None
    settings = {**(definition.get("generation_kwargs") or {}), **task.gen_kwargs.for_lm_eval()}
    return next((int(settings[name]) for name in _LONGEST_ANSWER if settings.get(name)), None)


def definitions(task: Task, accelerator: str) -> list[dict[str, Any]]:
    """The task files of a task, local or stock."""
    local = task.path or local_task(task.name)
    return [stock_tasks.read(local)] if local else stock_tasks.definitions(task.name, accelerator)


def remarks(evaluation: Evaluation) -> Iterator[str]:
    """What of an evaluation was not as one might expect, a line each."""
    how = evaluation.prompts
    for name, scores in evaluation.tasks.items():
        of_all, length = f"of {scores.documents} documents of {name}", how.context_length
        if scores.cut:
            yield f"{scores.cut} {of_all} are longer than {length} tokens with their answer: their beginning is cut"
        if scores.split:
            yield f"{scores.split} {of_all} are longer than {length} tokens: each is read in several windows"
        if scores.unknown:
            yield f"{scores.unknown} {of_all} have no value of a metric, and are left out of it"
    if how.system_left_out:
        yield "the chat template refuses system messages: descriptions of tasks are left out"
    if left_out := how.generation_config_left_out:
        settings = ", ".join(f"{name} {value}" for name, value in left_out.items())
        yield f"evaluated without the sampling settings of generation_config.json ({settings})"
