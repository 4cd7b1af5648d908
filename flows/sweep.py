"""Ray Tune: a trial is a variant. The only file that imports ray.tune.

A trial's process waits and asks others to work: it holds no device, and its variant takes seats step by
step. The records say what is done, so nothing of Tune's own state is ever read again.
"""

import os
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from configs.schemes import Scheme
from configs.space import Choices, Parameter, Value
from configs.sweep import Sweep
from flows import compare, searched
from flows.context import Outcome, Run, Services
from flows.heats import run_heat
from flows.plan import Plan
from flows.progress import EventFile, events_folder, relayed
from flows.records import Store

_HOLDS: dict[str, int | float] = {"memory": 256 << 20}
"""What a trial takes of a node: the memory of its process. It computes nothing, so it holds no core."""


_QUIET_TUNE = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}
"""Ctrl-C is ours, and so is what the terminal shows."""


class VariantTrial(tune.Trainable):
    """One variant; a training step of Tune's is one heat."""

    def setup(  # type: ignore[override]  # tune.with_parameters passes the rest
        self, config: dict[str, Any], *, plan: Plan, logs: Path, services: Services
    ) -> None:
        """Nothing is done yet. Everything is passed once for all trials."""
        self._plan, self._logs, self._services = plan, logs, services
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on with another variant in the same process."""
        self._name, self._scheme = new_config["variant"], new_config["scheme"]
        return True

    def step(self) -> dict[str, Any]:
        """One heat."""
        progress = EventFile(events_folder(self._logs) / f"{self._name}.jsonl")
        run = Run.of(self._plan, Store(self._plan.experiment.storage.root), progress, self._logs)
        if self._scheme is not None:
            run.add(self._scheme)
        finish = run_heat(run, self._name, self._services)
        found = compare.score(run.outcomes[self._name], run) if self._scheme is not None else None
        return {"failure": finish.failure, "score": found, "done": finish.last}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The records are in the store."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """The records are in the store."""


class Search:
    """Optuna, through Tune: each scheme is chosen by what the earlier ones brought. With the same seed it
    asks the same questions again, and those with records are answered at once."""

    def __init__(self, sweep: Sweep, run: Run) -> None:
        self._sweep, self._run, self._left = sweep, run, sweep.samples or 0
        self._optuna = OptunaSearch(space=self._choose, metric="score", mode="max", seed=sweep.seed)

    @property
    def ended(self) -> bool:
        return self._left == 0

    def suggest(self, trial_id: str) -> Scheme:
        """The next scheme; it is a variant of the run from now on."""
        self._left -= 1
        values: dict[str, Any] = self._optuna.suggest(trial_id) or {}
        template = values.pop("template")
        fields = {parameter.field: self._value(parameter, values[key]) for key, parameter in self._named(template)}
        scheme = self._sweep.scheme(template, fields)
        self._run.add(scheme)
        return scheme

    def told(self, trial_id: str, score: float | None) -> None:
        """What came of a scheme; None where it cannot be recommended."""
        self._optuna.on_trial_complete(trial_id, None if score is None else {"score": score})

    def _choose(self, trial: Any) -> None:
        """Optuna's way through the space: first the kind of scheme, then what varies in it."""
        template = trial.suggest_categorical("template", list(range(len(self._sweep.space))))
        for key, parameter in self._named(template):
            if isinstance(parameter, Choices):
                trial.suggest_categorical(key, list(range(parameter.count)))
            elif parameter.integer:
                trial.suggest_int(key, int(parameter.low), int(parameter.high), step=int(parameter.step or 1))
            else:
                trial.suggest_float(key, parameter.low, parameter.high, step=parameter.step)

    def _named(self, template: int) -> list[tuple[str, Parameter]]:
        return [(f"{template}.{parameter.field}", parameter) for parameter in self._sweep.parameters()[template]]

    @staticmethod
    def _value(parameter: Parameter, suggested: Any) -> Value:
        return parameter.at(suggested) if isinstance(parameter, Choices) else suggested


class Feed(Searcher):
    """Gives out the variants: those that are known in their order, then those that a search comes upon, as
    long as there is room for one more."""

    def __init__(self, names: list[str], search: Search | None, room: int) -> None:
        super().__init__()
        self._names, self._search, self._room = list(names), search, room
        self._under_way: set[str] = set()
        self._searched: set[str] = set()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Feed":
        """Tune copies what it is given; the scheduler speaks to this one."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps what it is given in a file, too; the records are in the store."""
        return {}

    @property
    def empty(self) -> bool:
        return not self._names and (self._search is None or self._search.ended)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next variant; None where there is no room now."""
        if self.empty:
            return Searcher.FINISHED  # type: ignore[return-value]  # as Tune's own searchers do
        if len(self._under_way) >= self._room:
            return None
        self._under_way.add(trial_id)
        if self._names or self._search is None:
            return {"variant": self._names.pop(0), "scheme": None}
        self._searched.add(trial_id)
        scheme = self._search.suggest(trial_id)
        return {"variant": scheme.name, "scheme": scheme}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Makes room, and tells the search what came of it."""
        self.rests(trial_id)
        if self._search is not None and trial_id in self._searched:
            self._search.told(trial_id, (result or {}).get("score"))

    def rests(self, trial_id: str) -> None:
        """A variant that waits for the others' first heats makes room for one of them."""
        self._under_way.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """The records are in the store."""

    def restore(self, checkpoint_path: str) -> None:
        """The records are in the store."""


class Racing(FIFOScheduler):
    """After its first heat a variant rests. When all have been through theirs, the best by the objective go
    on, and whoever can no longer be best is stopped (`flows.racing`)."""

    def __init__(self, run: Run, feed: Feed) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._run, self._feed = run, feed
        self._waiting: list[str] = []
        self._beaten: set[str] = set()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Racing":
        """Tune copies what it is given; this one speaks to the feed."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps what it is given in a file, too; the records are in the store."""
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Let it rest where there is more to do."""
        self._feed.rests(trial.trial_id)
        self._look()
        return str(TrialScheduler.PAUSE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Somebody was measured in full, failed, or was stopped: who goes on?"""
        self._look()

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The best of those who rest, one after the other; whoever is pending before them."""
        trials: list[Trial] = tune_controller.get_trials()
        if pending := next((trial for trial in trials if trial.status == Trial.PENDING), None):
            return pending
        resting = {trial.config["variant"]: trial for trial in trials if trial.status == Trial.PAUSED}
        for name in self._beaten & set(resting):
            tune_controller.stop_trial(resting.pop(name))
        running = sum(trial.status == Trial.RUNNING for trial in trials)
        racing = self._run.plan.experiment.racing
        if racing is None or not self._feed.empty or running >= racing.frontrunners:
            return None
        return next((resting[name] for name in self._waiting if name in resting), None)

    def _look(self) -> None:
        """Who stands where, by the records."""
        run = self._run
        run.outcomes = {name: Outcome.of(outcome.plan, run.store) for name, outcome in run.outcomes.items()}
        self._beaten = {found.name for found in compare.stopped(run)}
        for found in compare.stopped(run):
            run.progress.say(found.name, f"stopped: {found.reason}")
        loaded = [o for o in run.outcomes.values() if o.loaded and o.checkpoint and not o.complete]
        self._waiting = sorted((o.name for o in loaded), key=lambda name: compare.standing(run.outcomes[name], run))


def sweep(run: Run, services: Services, unfinished: list[str]) -> None:
    """Follow every variant that is not finished, and those that a search comes upon; fill in what became of
    them."""
    experiment = run.plan.experiment
    asked = experiment.sweep
    search = Search(asked, run) if asked and asked.search == "optuna" else None
    room = (asked.max_concurrent if asked else None) or len(services.benchmarkers) + 1
    feed = Feed(unfinished, search, room)
    os.environ |= _QUIET_TUNE
    followed = tune.with_parameters(VariantTrial, plan=run.plan, logs=run.logs, services=services)
    tuner = tune.Tuner(
        tune.with_resources(followed, tune.PlacementGroupFactory([_HOLDS])),
        tune_config=tune.TuneConfig(
            search_alg=feed,
            scheduler=Racing(run, feed) if experiment.racing else FIFOScheduler(),
            num_samples=-1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(run.logs),
            failure_config=tune.FailureConfig(max_failures=experiment.retries),
            verbose=0,
        ),
    )
    with relayed(events_folder(run.logs), run.progress):
        results = tuner.fit()
    for name, outcome in run.outcomes.items():
        run.outcomes[name] = Outcome.of(outcome.plan, run.store)
    for result in (results[place] for place in range(len(results))):
        failure = "crashed: its process died" if result.error else (result.metrics or {}).get("failure")
        if failure and result.config:
            run.outcomes[result.config["variant"]].failure = failure
    if search is not None:
        schemes = [variant.scheme for variant in run.plan.variants if variant.scheme]
        searched.keep(experiment, run.store, schemes[len(experiment.schemes) :], ended=search.ended)
