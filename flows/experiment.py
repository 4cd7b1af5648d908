"""The whole flow of one experiment, on one screen."""

from pathlib import Path

from configs.experiment import Experiment
from flows import cluster
from flows.analysis import compare
from flows.analysis.judgement import Judgement
from flows.planning import plan as planning
from flows.planning import preflight
from flows.planning.plan import Plan
from flows.reporting import report
from flows.runtime import failures, search_state
from flows.runtime.alone import alone
from flows.runtime.context import Run
from flows.runtime.progress import Says
from flows.runtime.services import services
from flows.stages.checkpoint import prepare_base
from flows.store.records import Store
from flows.tracking import registered
from flows.tracking.mirror import mirror, open_run


def run_experiment(experiment: Experiment, progress: Says) -> tuple[Run, Judgement]:
    """Quantize, evaluate, benchmark, compare, track, decide; what has a record is not done again."""
    plan = checked_plan(experiment)
    with alone(experiment):
        return _run(plan, progress)


def _run(plan: Plan, progress: Says) -> tuple[Run, Judgement]:
    experiment = plan.experiment
    store = Store.of(experiment.storage)
    store.refer(experiment.name, plan.steps)
    run = Run.of(plan, store, progress, logs_folder(experiment))
    searching = search_state.goes_on(plan, store)
    if (unfinished := _unfinished(run, searching)) or searching:
        from flows.sweep.tuner import sweep  # with Ray Tune, whose second a finished run need not take

        remote = isinstance(experiment.storage.root, str)
        connection = cluster.connected(plan.hardware.accelerator, run.logs / "ray", object_store=remote)
        with connection as ray_logs, open_run(run):
            moved = "" if cluster.is_named() else f", and moved to {run.logs / 'ray'} at the end"
            progress.say("logs", f"{run.logs}; Ray's and the engines' in {ray_logs}{moved}")
            failures.keep(run)
            with services(run) as shared:
                prepare_base(run, shared)
                if run.baseline.failure is None:
                    sweep(run, shared, unfinished)  # each variant goes the way of flows/stages/variant.py
            failures.keep(run)
    judgement = compare.judge(run.evidence)
    report.write(run, judgement, anew=False)
    mirror(run, judgement)
    return run, judgement


def _unfinished(run: Run, searching: bool) -> list[str]:
    """Variants for which there is something left to do, the baseline first; a search that goes on asks again for
    those that it came upon."""
    stopped = {stop.name for stop in compare.stopped(run.evidence)}
    names = run.plan.experiment.names if searching else tuple(run.outcomes)
    outcomes = [run.outcomes[name] for name in names]
    return [o.name for o in outcomes if not (o.complete or o.failure or o.name in stopped)]


def checked_plan(experiment: Experiment) -> Plan:
    """The plan of an experiment that can work here.

    Raises:
        UserError: it cannot; nothing was taken.
    """
    experiment = registered.resolved(experiment, anew=True)
    preflight.check_inputs(experiment, cluster.accelerator(experiment))
    plan = planned(experiment)
    preflight.check(plan)
    return plan


def planned(experiment: Experiment) -> Plan:
    """The plan of an experiment on this machine, with what its search has come upon before."""
    plan = planning.make(experiment, cluster.this_machine(experiment))
    return planning.extended(plan, search_state.recall(plan, Store.of(experiment.storage)).variants)


def logs_folder(experiment: Experiment) -> Path:
    folder = experiment.results / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
