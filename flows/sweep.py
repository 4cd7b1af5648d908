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

from flows import compare
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
        self._name = new_config["variant"]
        return True

    def step(self) -> dict[str, Any]:
        """One heat."""
        progress = EventFile(events_folder(self._logs) / f"{self._name}.jsonl")
        run = Run.of(self._plan, Store(self._plan.experiment.storage.root), progress, self._logs)
        finish = run_heat(run, self._name, self._services)
        return {"variant": self._name, "failure": finish.failure, "done": finish.last}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The records are in the store."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """The records are in the store."""


class Feed(Searcher):
    """Gives out the variants in their order, as long as there is room for one more."""

    def __init__(self, names: list[str], room: int) -> None:
        super().__init__()
        self._names, self._room = list(names), room
        self._under_way: set[str] = set()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Feed":
        """Tune copies what it is given; the scheduler speaks to this one."""
        return self

    @property
    def empty(self) -> bool:
        return not self._names

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next variant; None where there is no room now."""
        if self.empty:
            return Searcher.FINISHED  # type: ignore[return-value]  # as Tune's own searchers do
        if len(self._under_way) >= self._room:
            return None
        self._under_way.add(trial_id)
        return {"variant": self._names.pop(0)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Makes room."""
        self.rests(trial_id)

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
    """Follow every variant that is not finished; fill in what became of them."""
    experiment = run.plan.experiment
    room = len(services.benchmarkers) + 1
    feed = Feed(unfinished, room)
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
