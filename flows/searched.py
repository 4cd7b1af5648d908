"""The schemes that a search came upon, kept so that report and status know them too."""

import json

from pydantic import TypeAdapter

from configs.experiment import Experiment
from configs.schemes import Scheme
from flows.records import Store

_FILE = "searched.json"
_SCHEME: TypeAdapter[Scheme] = TypeAdapter(Scheme)


def found(experiment: Experiment, store: Store) -> tuple[list[Scheme], bool]:
    """What the same search has come upon so far, and whether it has ended."""
    file = store.experiments / experiment.name / _FILE
    if experiment.sweep is None or not file.is_file():
        return [], False
    kept = json.loads(file.read_text())
    if kept["sweep"] != experiment.sweep.model_dump(mode="json"):
        return [], False
    return [_SCHEME.validate_python(scheme) for scheme in kept["schemes"]], kept["ended"]


def keep(experiment: Experiment, store: Store, schemes: list[Scheme], *, ended: bool) -> None:
    """Write down what a search has come upon so far."""
    if experiment.sweep is None:
        return
    asked = experiment.sweep.model_dump(mode="json")
    kept = [scheme.model_dump(mode="json") for scheme in schemes]
    store.keep(experiment.name, _FILE, {"sweep": asked, "schemes": kept, "ended": ended})
