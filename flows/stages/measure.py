"""Accuracy and load of every checkpoint: groups of variants are served side by side.

Inside a group every variant is first compared with its reference, then all are evaluated at the
same time, then loaded (`flows.stages.load`).
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray.actor import ActorHandle

from actors.benchmarker import Benchmarker
from actors.evaluator import Evaluator
from actors.lease import Needs, lease
from actors.serving import Deployment, await_ready, cpu_engine_variables, deployed
from configs.accuracy import TASKS_FOLDER
from flows import checkpoints
from flows.context import Outcome, Run, StepFailed, failing_alone
from flows.plan import engine_args
from flows.records import Record
from flows.stages.load import Place, Served, put_under_load

WORST_GAP_PER_LIMIT = 8
"""At a single token, the served model's best may beat the reference's greedy choice by this many
times the mean limit: near ties flip, and one token varies more than the mean of all."""


def measure(run: Run, server: ActorHandle[Any]) -> None:
    """Fill in evaluation and benchmark records of every live variant."""
    if run.plan.experiment.accuracy.engine != "served":
        for outcome in run.live:
            for place in _missing(outcome.evaluations):
                _evaluate_checkpoint(run, outcome, place)
    waiting = [outcome for outcome in run.live if not outcome.complete]
    seats = len(run.plan.seats.engines)
    if not waiting:
        return
    with contextlib.ExitStack() as leases:
        used = range(min(seats, len(waiting)))
        in_company = len(used) if run.plan.seats.together else 1
        benchmarkers = [leases.enter_context(lease(Benchmarker, Needs())) for _ in range(in_company)]
        places = [Place(seat, benchmarkers[seat % in_company]) for seat in used]
        for start in range(0, len(waiting), seats):
            _measure_group(run, waiting[start : start + seats], server, places)


def _measure_group(run: Run, group: list[Outcome], server: ActorHandle[Any], places: list[Place]) -> None:
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(max_workers=len(group)) as pool:
        starting = []
        for outcome, place in zip(group, places, strict=False):
            with failing_alone(run, outcome):
                starting.append((outcome, place, stack.enter_context(_serve(run, outcome, server, place.seat))))
        up = [served for served in pool.map(lambda job: _bring_up(run, server, *job), starting) if served]
        evaluations = [(served, place) for served in up for place in _missing(served.outcome.evaluations)]
        controls_last = sorted(evaluations, key=lambda asked: asked[1])
        list(pool.map(lambda asked: _evaluate(run, *asked), controls_last))
        put_under_load(run, [served for served in up if served.outcome.failure is None], pool)


@contextlib.contextmanager
def _serve(run: Run, outcome: Outcome, server: ActorHandle[Any], seat: int) -> Iterator[Deployment]:
    serving, hardware = run.plan.experiment.serving, run.plan.hardware
    checkpoints.verify(outcome.checkpoint_folder, compressed=outcome.plan.scheme is not None)
    run.progress.say(outcome.name, "starting its server ...")
    with deployed(
        server,
        outcome.name,
        str(outcome.checkpoint_folder),
        engine=engine_args(run.plan.experiment, hardware),
        cores=run.plan.seats.engines[seat],
        kv_cache_gib=serving.kv_cache_gib,
        gpus=0 if hardware.on_cpu else serving.tensor_parallel_size,
        host=serving.host,
        port=serving.port,
    ) as deployment:
        yield deployment


def _bring_up(
    run: Run, server: ActorHandle[Any], outcome: Outcome, place: Place, deployment: Deployment
) -> Served | None:
    """Wait until a variant answers as its reference does; None where it fails."""
    with failing_alone(run, outcome):
        report = await_ready(server, deployment, run.plan.experiment.serving.start_timeout_s)
        run.progress.say(
            outcome.name,
            f"serves after {report['seconds']:.0f} s: {report['processes']} processes, "
            f"{report['memory_bytes'] / 1e9:.1f} GB",
        )
        difference = _compare_with_reference(run, outcome, server, deployment)
        return Served(outcome, place, deployment, report, difference)
    return None


def _compare_with_reference(
    run: Run, outcome: Outcome, server: ActorHandle[Any], deployment: Deployment
) -> dict[str, Any]:
    """How far the served variant is from its reference.

    Raises:
        StepFailed: too far for its scheme, so measuring it would measure a broken engine.
    """
    scheme = outcome.plan.scheme
    limit = scheme.logprob_limit if scheme else 0.10
    reference = outcome.checkpoint.result["reference"] if outcome.checkpoint else []
    asked: Any = server.compare_with_reference.remote(f"{deployment.url}/v1", deployment.model, reference)
    difference: dict[str, Any] = ray.get(asked)
    mean, worst = difference["mean_logprob_difference"], difference["worst_greedy_gap"]
    run.progress.say(outcome.name, f"differs from its reference by {mean:.3f} nats a token (limit {limit:.2f})")
    if mean > limit or worst > WORST_GAP_PER_LIMIT * limit or difference["decode_disagreements"]:
        example = difference["answers"][0]
        raise StepFailed(
            f"served wrongly: token log-probabilities are {mean:.3f} nats from the reference on average "
            f"(limit {limit:.2f}), {worst:.2f} at the worst greedy token (limit {WORST_GAP_PER_LIMIT * limit:.2f}), "
            f"{difference['decode_disagreements']} answers contradict their own prefill; "
            f"it answered {example['served']!r} for {example['reference']!r}"
        )
    return {**difference, "limit": limit}


def _missing(records: list[Record | None]) -> list[int]:
    return [place for place, record in enumerate(records) if record is None]


def _evaluation_settings(run: Run) -> dict[str, Any]:
    accuracy = run.plan.experiment.accuracy
    return {
        "tasks": [task.model_dump(mode="json") for task in accuracy.tasks],
        "tasks_folder": str(TASKS_FOLDER),
        "chat_template": accuracy.chat_template,
        "seed": accuracy.seed,
    }


def _evaluate(run: Run, served: Served, place: int) -> None:
    """Accuracy by asking the deployment; place 1 is the control."""
    outcome, step = served.outcome, served.outcome.plan.evaluations[place]
    if outcome.failure is not None:
        return
    with failing_alone(run, outcome), run.store.writing(step) as draft:
        run.progress.say(outcome.name, "evaluating again, as control ..." if place else "evaluating ...")
        with lease(Evaluator, Needs()) as evaluator:
            asked: Any = evaluator.evaluate_served.remote(
                f"{served.deployment.url}/v1",
                served.deployment.model,
                str(outcome.checkpoint_folder),
                step.settings["concurrency"],
                samples=str(draft.folder),
                **_evaluation_settings(run),
            )
            draft.result = {"tasks": _checked(ray.get(asked)), "reference": served.difference}
    _finish_evaluation(run, outcome, place)


def _evaluate_checkpoint(run: Run, outcome: Outcome, place: int) -> None:
    """Accuracy with an engine in the evaluating actor, which owns the device for it; place 1 is the control."""
    if outcome.failure is not None:
        return
    experiment, hardware, step = run.plan.experiment, run.plan.hardware, outcome.plan.evaluations[place]
    engine = experiment.accuracy.engine
    in_transformers = {"dtype": run.plan.compute_dtype, "device": hardware.accelerator}
    model = engine_args(experiment, hardware) if engine == "vllm" else in_transformers
    cores = run.plan.seats.engines[0]
    variables = cpu_engine_variables(cores, experiment.serving.kv_cache_gib) if hardware.on_cpu else {}
    needs = Needs(
        cores=len(cores) or 1,
        gpus=0 if hardware.on_cpu else experiment.serving.tensor_parallel_size,
        variables=variables | {"OMP_NUM_THREADS": str(len(cores) or 1)},
    )
    with failing_alone(run, outcome), run.store.writing(step) as draft:
        run.progress.say(outcome.name, f"evaluating with {engine}{', as control' if place else ''} ...")
        with lease(Evaluator, needs) as evaluator:
            asked: Any = evaluator.evaluate_checkpoint.remote(
                engine,
                str(outcome.checkpoint_folder),
                model,
                batch_size=step.settings["concurrency"],
                samples=str(draft.folder),
                **_evaluation_settings(run),
            )
            draft.result = {"tasks": _checked(ray.get(asked))}
    _finish_evaluation(run, outcome, place)


def _checked(tasks: dict[str, Any]) -> dict[str, Any]:
    """The same results, where every task has enough documents for an interval."""
    if few := [name for name, found in tasks.items() if found["documents"] < 2]:
        raise StepFailed(f"task {few[0]} has {tasks[few[0]]['documents']} documents; a comparison needs two or more")
    return tasks


def _finish_evaluation(run: Run, outcome: Outcome, place: int) -> None:
    record = outcome.evaluations[place] = run.store.find(outcome.plan.evaluations[place])
    if record is not None:
        figures = ", ".join(
            f"{task} {metric} {value:.3f}"
            for task, found in record.result["tasks"].items()
            for metric, value in list(found["metrics"].items())[:1]
        )
        run.progress.say(outcome.name, f"evaluated in {record.seconds:.0f} s: {figures}")
