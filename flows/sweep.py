"""Ray Tune: a trial is a variant. The only file that imports ray.tune.

A trial's process waits and asks others to work: it holds no device, and its variant takes seats step by
step. The records say what is done, so nothing of Tune's own state is ever read again.
"""

import itertools
import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from actors.lease import passed_on
from configs.schemes import Scheme
from configs.sweep import Sweep
from flows import compare, questions, searched
from flows.context import Run, Services
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
        self, config: dict[str, Any], *, plan: Plan, logs: Path, services: Services, variables: dict[str, str]
    ) -> None:
        """Nothing is done yet. Everything is passed once for all trials."""
        os.environ |= variables
        self._plan, self._logs, self._services = plan, logs, services
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on with another variant in the same process."""
        self._name, self._scheme = new_config["variant"], new_config["scheme"]
        return True

    def step(self) -> dict[str, Any]:
        """One heat."""
        progress = EventFile(events_folder(self._logs) / f"{self._name}.jsonl")
        run = Run.of(self._plan, Store.of(self._plan.experiment.storage), progress, self._logs)
        if self._scheme is not None:
            run.add(self._scheme)
        finish = run_heat(run, self._name, self._services, first=self.iteration == 0)
        return {"failure": finish.failure, "done": finish.last}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The records are in the store."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """The records are in the store."""


@dataclass(frozen=True)
class _Asked:
    """A scheme that was suggested: Tune's trial, Optuna's, and the variant."""

    trial: str
    question: str
    variant: str


class Search:
    """Optuna, through Tune: each scheme is chosen by what the earlier ones brought.

    One is chosen when the results of all but the last few before it are known, and they are told in the order
    of asking. So the same seed and the same results bring the same schemes, whoever was faster; on a run that
    goes on, those with records are answered at once.
    """

    _ASKED_AGAIN = 100
    """After so many suggestions in a row that were there before, nothing new is to be found."""

    def __init__(self, run: Run, asked: Sweep, lag: int) -> None:
        self._run, self._space, self._left, self._lag = run, asked, asked.samples or 0, lag
        self._optuna = OptunaSearch(space=partial(questions.ask, asked), metric="score", mode="max", seed=asked.seed)
        self._known = {scheme.bare for scheme in run.plan.experiment.schemes}
        self._questions = itertools.count()
        self._asked: list[_Asked] = []
        """What Optuna was not told the result of, in the order of asking."""
        self._over: set[str] = set()
        """Trials that have ended."""

    @property
    def ended(self) -> bool:
        return self._left == 0

    def may_ask(self, *, listed_over: bool) -> bool:
        """Whether enough is known for the next.

        Args:
            listed_over: whether the base, and all that is not searched for, has been measured.
        """
        due = self._asked[: max(0, len(self._asked) + 1 - self._lag)]
        return not due or (listed_over and all(asked.trial in self._over for asked in due))

    def suggest(self, trial_id: str) -> Scheme | None:
        """The next scheme, a variant of the run from now on; None where the search has come to its end."""
        while len(self._asked) >= self._lag:
            asked = self._asked.pop(0)
            self._run.look_again()
            found = compare.score(self._run, self._run.outcomes[asked.variant])
            self._optuna.on_trial_complete(asked.question, None if found is None else {"score": found})
        scheme = self._new(trial_id)
        self._left = 0 if scheme is None else self._left - 1
        searched.keep(self._run, ended=self.ended)
        return scheme

    def on_trial_complete(self, trial_id: str) -> None:
        """What came of it stands in the records."""
        self._over.add(trial_id)

    def _new(self, trial_id: str) -> Scheme | None:
        """What Optuna suggests, when it is not among what there was before; that is no trial of its own."""
        for _ in range(self._ASKED_AGAIN):
            question = str(next(self._questions))
            scheme = questions.scheme(self._space, self._optuna.suggest(question) or {})
            if scheme.bare not in self._known:
                self._known.add(scheme.bare)
                self._asked.append(_Asked(trial_id, question, scheme.name))
                self._run.add(scheme)
                return scheme
            self._optuna.on_trial_complete(question, error=True)
        return None


class Feed(Searcher):
    """Gives out the variants: those that are known in their order, then those that a search comes upon, as
    long as there is room for one more."""

    def __init__(self, names: list[str], search: Search | None, room: int) -> None:
        super().__init__()
        self._names, self._search, self._room = list(names), search, room
        self._under_way: set[str] = set()
        self._listed: set[str] = set()
        """Of those, the ones that were not searched for."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Feed":
        """Tune copies what it is given; the scheduler speaks to this one."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps what it is given in a file, too; the records are in the store."""
        return {}

    @property
    def empty(self) -> bool:
        return not self._names and (self._search is None or self._search.ended)

    @property
    def all_rest(self) -> bool:
        """Whether every variant has been through its first heat."""
        return self.empty and not self._under_way

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next variant; None where there is no room now, or too little is known to choose one."""
        if self.empty:
            return Searcher.FINISHED  # type: ignore[return-value]  # as Tune's own searchers do
        if len(self._under_way) >= self._room:
            return None
        scheme = None
        if self._names:
            name = self._names.pop(0)
            self._listed.add(trial_id)
        elif self._search is None or not self._search.may_ask(listed_over=not self._listed):
            return None
        elif (scheme := self._search.suggest(trial_id)) is None:
            return Searcher.FINISHED  # type: ignore[return-value]
        else:
            name = scheme.name
        self._under_way.add(trial_id)
        return {"variant": name, "scheme": scheme}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Makes room."""
        self.rests(trial_id)
        self._listed.discard(trial_id)
        if self._search is not None:
            self._search.on_trial_complete(trial_id)

    def rests(self, trial_id: str) -> None:
        """A variant that waits for the others' first heats makes room for one of them."""
        self._under_way.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """The records are in the store."""

    def restore(self, checkpoint_path: str) -> None:
        """The records are in the store."""


class Racing(FIFOScheduler):
    """After its first heat a variant rests. When all have been through theirs, the base goes on, with which
    everybody is compared, and beside it the best by the objective; whoever can no longer be best is stopped
    (`flows.racing`)."""

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
        """Whoever is pending; then of those who rest the base, and the best, one after the other."""
        trials: list[Trial] = tune_controller.get_trials()
        if pending := next((trial for trial in trials if trial.status == Trial.PENDING), None):
            return pending
        resting = {trial.config["variant"]: trial for trial in trials if trial.status == Trial.PAUSED}
        for name in self._beaten & set(resting):
            tune_controller.stop_trial(resting.pop(name))
        racing, base = self._run.plan.experiment.racing, self._run.base.name
        if racing is None or not self._feed.all_rest:
            return None
        if base in resting:
            return resting[base]
        running = {trial.config["variant"] for trial in trials if trial.status == Trial.RUNNING}
        # Whether somebody who is through has won shows when the base is through, too.
        undecided = base in running and any(outcome.complete for outcome in self._run.outcomes.values())
        if undecided or len(running - {base}) >= racing.frontrunners:
            return None
        return next((resting[name] for name in self._waiting if name in resting), None)

    def _look(self) -> None:
        """Who stands where, by the records."""
        run = self._run
        run.look_again()
        beaten = {found.name: found.reason for found in compare.stopped(run)}
        for name in sorted(set(beaten) - self._beaten):
            run.progress.say(name, f"stopped: {beaten[name]}")
        self._beaten = set(beaten)
        loaded = [o for o in run.outcomes.values() if o.loaded and o.checkpoint and not o.complete]
        self._waiting = compare.standings(run, loaded)


def sweep(run: Run, services: Services, unfinished: list[str]) -> None:
    """Follow every variant that is not finished, and those that a search comes upon; fill in what became of
    them."""
    experiment = run.plan.experiment
    asked = experiment.sweep
    room = (asked.max_concurrent if asked else None) or len(services.benchmarkers) + 1
    search = Search(run, asked, lag=room) if asked and searched.goes_on(run.plan, run.store) else None
    feed = Feed(unfinished, search, room)
    os.environ |= _QUIET_TUNE | {"TUNE_MAX_PENDING_TRIALS_PG": str(room)}  # else one process starts after the other
    logging.getLogger("optuna").setLevel(logging.WARNING)
    followed = tune.with_parameters(
        VariantTrial, plan=run.plan, logs=run.logs, services=services, variables=passed_on()
    )
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
    run.look_again()
    for result in (results[place] for place in range(len(results))):
        failure = "crashed: its process died" if result.error else (result.metrics or {}).get("failure")
        if failure and result.config:
            run.outcomes[result.config["variant"]].failure = failure
