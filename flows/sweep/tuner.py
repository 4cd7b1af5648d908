"""Every variant of an experiment in the hands of Ray Tune."""

import logging
import os

from ray import tune
from ray.tune.execution import class_cache
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler

from actors.placement.lease import passed_on
from flows.runtime import search_state
from flows.runtime.context import Run, Services
from flows.runtime.progress import events_folder, relayed
from flows.sweep.scheduler import Racing
from flows.sweep.search import Search
from flows.sweep.searcher import Feed
from flows.sweep.trial import VariantTrial

_HOLDS: dict[str, int | float] = {"memory": 256 << 20}
"""What a trial takes of a node: the memory of its process. It computes nothing, so it holds no core."""
_QUIET_TUNE = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}
"""Ctrl-C is ours, and so is what the terminal shows."""
_STAYS_AT_HOME = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
"""What Tune (2.60) would put into the runtime environment of every trial, which Ray writes into a log and shows to
whoever sees its dashboard. Every node has credentials of its own."""


class _Silent(TrialProgressCallback):
    """Replaces Tune's own, which prints every trial that a scheduler stops, even at verbosity 0."""

    def _print(self, msg: str) -> None:
        """What became of a variant is said by its rungs and its race."""


def sweep(run: Run, services: Services, unfinished: list[str]) -> None:
    """Follow every variant that is not finished, and those that a search comes upon; fill in what became of
    them."""
    experiment = run.plan.experiment
    settings = experiment.sweep
    room = (settings.max_concurrent if settings else None) or len(services.benchmarkers) + 1
    search = Search(run, settings, lag=room) if settings and search_state.goes_on(run.plan, run.store) else None
    feed = Feed(unfinished, search, room)
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(_STAYS_AT_HOME)
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
            callbacks=[_Silent()],
        ),
    )
    with relayed(events_folder(run.logs), run.progress):
        results = tuner.fit()
    run.look_again()
    for result in (results[index] for index in range(len(results))):
        failure = "crashed: its process died" if result.error else (result.metrics or {}).get("failure")
        if failure and result.config:
            run.outcomes[result.config["variant"]].failure = failure
