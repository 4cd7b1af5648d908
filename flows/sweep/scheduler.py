"""Which variant Ray Tune goes on with where variants race."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from flows.analysis import compare
from flows.runtime.context import Run
from flows.sweep.searcher import Feed


class Racing(FIFOScheduler):
    """After each rung a variant rests. When all have been through their first, the baseline goes on, with which
    everybody is compared, and beside it the best by the objective; whoever can no longer be best is stopped
    (`flows.analysis.early_stopping`)."""

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
        """Whoever is pending; then of those who rest the baseline, and the best, one after the other."""
        trials: list[Trial] = tune_controller.get_trials()
        if pending := next((trial for trial in trials if trial.status == Trial.PENDING), None):
            return pending
        resting = {trial.config["variant"]: trial for trial in trials if trial.status == Trial.PAUSED}
        for name in self._beaten & set(resting):
            tune_controller.stop_trial(resting.pop(name))
        racing, base = self._run.plan.experiment.racing, self._run.baseline.name
        if racing is None or not self._feed.all_rest:
            return None
        if base in resting:
            return resting[base]
        running = {trial.config["variant"] for trial in trials if trial.status == Trial.RUNNING}
        # Whether somebody who is through has won shows when the baseline is through, too.
        undecided = base in running and any(outcome.complete for outcome in self._run.outcomes.values())
        if undecided or len(running - {base}) >= racing.frontrunners:
            return None
        return next((resting[name] for name in self._waiting if name in resting), None)

    def _look(self) -> None:
        """Who stands where, by the records."""
        run = self._run
        run.look_again()
        beaten = {stopped.name: stopped.reason for stopped in compare.stopped(run.evidence)}
        for name in sorted(set(beaten) - self._beaten):
            run.progress.say(name, f"stopped: {beaten[name]}", "stopped")
        self._beaten = set(beaten)
        loaded = [o for o in run.outcomes.values() if o.screened and o.checkpoint and not o.complete]
        self._waiting = compare.ranking(run.evidence, loaded)
