"""The user's files that a step is made from, which are to be what they were when it was planned."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from actors.placement.lease import on_node
from flows.runtime.errors import StepFailed
from flows.store.checkpoints import digest
from flows.store.results import Result
from flows.store.steps import Step


@contextlib.contextmanager
def unchanged(step: Step[Result], node: str) -> Iterator[None]:
    """The work of a step on a node. Its files are looked at before and after it.

    Raises:
        StepFailed: one of them is another than the step was planned with, and the record would name that one.
    """
    _check(step, node)
    yield
    _check(step, node)


def _check(step: Step[Result], node: str) -> None:
    if step.files and (changed := on_node(node, _changed, step.files, step.inputs)):
        raise StepFailed(f"{changed[0]} has changed since this run was planned; start the run again")


def _changed(files: Mapping[str, Path], digests: Mapping[str, str]) -> list[Path]:
    return [path for name, path in files.items() if not path.exists() or digest(path) != digests[name]]
