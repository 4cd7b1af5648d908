"""The files that commands leave in an experiment's folder, spoilt, and the commands that read them."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import strategies as st
from properties.experiments import SHIPPED
from properties.loading import assert_one_line
from properties.stored import spoilt
from properties.values import garbled
from rich.console import Console
from tests_support import BIG_CPU, evaluations_of, write_records

from configs.base import UserError
from configs.experiment import Experiment
from configs.loading import load_experiment
from flows import cluster
from flows.analysis import compare
from flows.deploying import candidate, deploy, ray_serve
from flows.deploying.ray_serve import RayServe
from flows.experiment import logs_folder, planned
from flows.reporting import report, status
from flows.runtime import failures, search_state
from flows.runtime.context import Run
from flows.runtime.progress import EventFile, Progress, events_folder
from flows.store import clean
from flows.store.records import DEPLOYMENT, Store
from flows.tracking import client, downloads

_NAMING = {"steps.json": list, DEPLOYMENT: dict}
"""Files that name the steps which are in use."""
_EXPERIMENT = next(file for file in SHIPPED if file.stem == "smoke")
_POINT = {"asked": 1.0, "unit": "streams", "requests": 100, "errors": 0, "seconds": 10.0, "concurrency_mean": 1.0}
_LATENCIES = {f"{name}_{p}_ms": 20.0 for name in ("ttft", "tpot", "request_latency") for p in ("p50", "p95")}


@dataclass(frozen=True)
class Site:
    """An experiment that was run to its end, and what it left in its folder, by the file's name."""

    experiment: Experiment
    left: dict[str, bytes]

    def files(self) -> st.SearchStrategy[tuple[str, bytes]]:
        """A file of the folder, spoilt."""
        return st.sampled_from(sorted(self.left)).flatmap(lambda name: st.tuples(st.just(name), self._spoilt(name)))

    def _spoilt(self, name: str) -> st.SearchStrategy[bytes]:
        content = self.left[name]
        return spoilt(json.loads(content)) if ".json" in name else garbled(content) | st.binary(max_size=60)

    def commands_go_on(self, name: str, content: bytes) -> bool:
        """Whatever one of the files holds, every command that reads it goes on, or says in one line that it cannot.
        True where all went on."""
        for file, whole in {**self.left, name: content}.items():
            (self.experiment.results / file).write_bytes(whole)
        with redirect_stderr(io.StringIO()) as said:
            answers = {command: _answer(command, self.experiment) for command in _COMMANDS}
        if answers[_clean] and name in _NAMING:
            assert isinstance(json.loads(content), _NAMING[name]), (
                "nothing counts as unreferred beside what names no steps"
            )
        for line in said.getvalue().splitlines():
            assert line.startswith("passed over: ") and name in line, line
        return all(answers.values())


@contextmanager
def site(root: Path) -> Iterator[Site]:
    """An experiment in a store of its own, on a machine that is the same everywhere."""
    experiment = load_experiment(_EXPERIMENT, [f"storage.root={root}"])
    with mock.patch.object(cluster, "this_machine", lambda _: BIG_CPU):
        run = _run(experiment)
        for variant, speed in zip(run.plan.variants, (40.0, 60.0), strict=True):
            right = [{"everyday_science": [True, False, True, True, True, True, False, True]}] * len(
                evaluations_of(variant)
            )
            points = [[{**_POINT, **_LATENCIES, "output_tokens_per_second": speed}] for _ in variant.benchmarks]
            write_records(run.store, variant, 10**9, right, points, points)
        run = _run(experiment)
        run.store.refer(experiment.name, run.plan.steps)
        search_state.keep(run.plan, run.store, ended=False)
        failures.keep(run)
        report.write(run, compare.judge(run.evidence))
        run.store.keep(experiment.name, DEPLOYMENT, {**_deployment(run), "previous": _deployment(run)})
        client.remember(experiment, "run", None, {run.plan.base.checkpoint.fingerprint: "model"})
        EventFile(events_folder(run.logs) / "base.jsonl").say("base", "measured", "measured")
        left = {str(f.relative_to(experiment.results)): f.read_bytes() for f in experiment.results.rglob("*.json*")}
        yield Site(experiment, left | {"report.md": (experiment.results / "report.md").read_bytes()})


def _deployment(run: Run) -> dict[str, Any]:
    variant = run.plan.variants[-1]
    settings = run.plan.experiment.model_dump(mode="json", exclude={"tracking", "storage"})
    fingerprints = [step.fingerprint for step in variant.steps]
    running = {"kind": RayServe.kind, "variant": variant.name, "mark": "m", "cores": [0], "checkpoint": fingerprints[0]}
    return {**running, "experiment": settings, "records": fingerprints, "at": 1.0}


def _run(experiment: Experiment) -> Run:
    """What the records say of it, as every command begins."""
    run = Run.of(planned(experiment), Store.of(experiment.storage), Progress(io.StringIO()), logs_folder(experiment))
    failures.recall(run)
    return run


def _status(experiment: Experiment) -> None:
    status.show_status(_run(experiment), Console(file=io.StringIO()))


def _clean(experiment: Experiment) -> None:
    store = Store.of(experiment.storage)
    leftovers = [*clean.unreferred(store, set()), *downloads.unneeded(experiment.storage, store, set())]
    clean.clean(store.root, leftovers, Console(file=io.StringIO()), remove=False)


def _report(experiment: Experiment) -> None:
    run = _run(experiment)
    report.write(run, compare.judge(run.evidence), anew=False)


def _choose(experiment: Experiment) -> None:
    ray_serve._slot(candidate.choose(_run(experiment), None))


def _roll_back(experiment: Experiment) -> None:
    _, variant = deploy.before(experiment, RayServe())
    assert isinstance(variant, str)


def _track(experiment: Experiment) -> None:
    for fingerprint, model in client.remembered(experiment).get("models", {}).items():
        assert isinstance(fingerprint, str) and isinstance(model, str)


_COMMANDS = (_status, _clean, _choose, _roll_back, _track, _report)


def _answer(command: Any, experiment: Experiment) -> bool:
    try:
        command(experiment)
    except UserError as error:
        assert_one_line(str(error))
        return False
    return True
