"""A sweep's space, as Optuna asks for a point of it: first which template, then what varies in it."""

from collections.abc import Mapping
from typing import Any

from configs.parameters import Choices, Parameter
from configs.sweep import Sweep
from configs.variants import Variant

_TEMPLATE = "template"


def ask(sweep: Sweep, trial: Any) -> None:
    """Let an Optuna trial suggest a value for everything that varies; it keeps them itself."""
    index = trial.suggest_categorical(_TEMPLATE, list(range(len(sweep.templates))))
    for question, parameter in _questions(sweep, index):
        if isinstance(parameter, Choices):
            trial.suggest_categorical(question, list(range(parameter.count)))
        elif parameter.integer:
            trial.suggest_int(question, int(parameter.low), int(parameter.high), step=int(parameter.step or 1))
        else:
            trial.suggest_float(question, parameter.low, parameter.high, step=parameter.step)


def variant(sweep: Sweep, answers: Mapping[str, Any]) -> Variant:
    """The variant of what a trial suggested."""
    index = answers[_TEMPLATE]
    values = {
        parameter.field: parameter.at(answers[question]) if isinstance(parameter, Choices) else answers[question]
        for question, parameter in _questions(sweep, index)
    }
    return sweep.variant(index, values)


def _questions(sweep: Sweep, index: int) -> list[tuple[str, Parameter]]:
    return [(f"{index}.{parameter.field}", parameter) for parameter in sweep.parameters()[index]]
