"""Accuracy and load of one checkpoint: it is served once, compared with its reference, then evaluated slice
by slice, then loaded (`flows.stages.load`)."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ray.actor import ActorHandle

from actors import asking, vllm_server
from actors.evaluator import Evaluator
from actors.lease import Needs, asked_on, lease
from actors.seating import Place
from actors.serving import Deployment, await_ready, check_up, deployed
from configs.accuracy import TASKS_FOLDER
from flows import checkpoints, prompts, racing, reference_gap
from flows.context import Hopeless, Outcome, Run, Services, StepFailed, answer
from flows.plan import engine_args
from flows.records import Draft, Record
from flows.stages.load import Served, put_under_load
from flows.steps import Step


def measure(run: Run, outcome: Outcome, services: Services, slices: Sequence[int]) -> None:
    """Fill in the evaluation of some slices of the documents, and the benchmarks; what has a record stays.

    Raises:
        Hopeless: a slice shows that the variant cannot be acceptable.
    """
    _stop_if_hopeless(run, outcome)
    if run.plan.experiment.accuracy.engine != "served":
        _fill_in(run, outcome, slices, partial(_evaluate_alone, run, outcome, services))
    evaluates, loads = not outcome.evaluated_on(slices), not outcome.loaded
    if not (evaluates or loads):
        return
    with (
        run.seated(outcome, services, to_be_measured=loads) as place,
        _serve(run, outcome, services, place) as (deployment, folder),
    ):
        # It imports its libraries while the server starts.
        with lease(Evaluator, Needs(), node=place.host) if evaluates else contextlib.nullcontext() as evaluator:
            served = _bring_up(run, outcome, services, place, deployment, folder)
            if evaluator is not None:
                _fill_in(run, outcome, slices, partial(_evaluate, run, served, services, evaluator))
        if loads:
            put_under_load(run, served, services)


def _fill_in(run: Run, outcome: Outcome, slices: Sequence[int], evaluated: Callable[[Step, str], Record]) -> None:
    """Every evaluation that has no record: the proxy, the slices, with the last of them the control.

    Args:
        evaluated: does a step; it is told what to call it.
    """
    if outcome.plan.proxy and outcome.proxy is None:
        outcome.proxy = evaluated(outcome.plan.proxy, "a short text")
        _stop_if_hopeless(run, outcome)
    for place in slices:
        if outcome.evaluations[place] is None:
            outcome.evaluations[place] = evaluated(outcome.plan.evaluations[place], "")
            _stop_if_hopeless(run, outcome)
    if outcome.plan.control and not outcome.evaluated_on(slices):
        outcome.control = evaluated(outcome.plan.control, "as control")


def application(experiment: str, variant: str) -> str:
    """The name of a variant's Serve application; no other experiment on the cluster has it."""
    return f"{experiment}.{variant}"


def _stop_if_hopeless(run: Run, outcome: Outcome) -> None:
    """Raise Hopeless where the records so far say so; those of the base as far as it has got."""
    base = run.base if outcome is run.base else Outcome.of(run.plan.base, run.store)
    if found := racing.hopeless(outcome, base, run.plan.experiment):
        raise Hopeless(found.reason)


@contextlib.contextmanager
def _serve(run: Run, outcome: Outcome, services: Services, place: Place) -> Iterator[tuple[Deployment, Path]]:
    """A variant's deployment, and its checkpoint's folder on its node."""
    serving, hardware = run.plan.experiment.serving, run.plan.hardware
    files = outcome.checkpoint.result["files"] if outcome.checkpoint else {}
    with outcome.checkpoint_on(place.host) as folder:
        run.store.near(place.host, checkpoints.check, folder, files, compressed=outcome.plan.scheme is not None)
        run.progress.say(outcome.name, "starting its server ...")
        with deployed(
            services.conductor,
            services.server,
            application(run.plan.experiment.name, outcome.name),
            str(folder),
            node=place.host,
            engine=engine_args(run.plan.experiment, hardware),
            cores=run.plan.seats.engines[place.seat],
            kv_cache_gib=serving.kv_cache_gib,
            gpus=0 if hardware.on_cpu else serving.gpus,
            cache=str(run.plan.experiment.storage.compiled),
            start_timeout_s=serving.start_timeout_s,
        ) as deployment:
            yield deployment, folder


def _bring_up(
    run: Run, outcome: Outcome, services: Services, place: Place, deployment: Deployment, folder: Path
) -> Served:
    """Wait until a variant answers as its reference does."""
    url, report = await_ready(services.server, deployment, run.plan.experiment.serving.start_timeout_s)
    run.progress.say(
        outcome.name,
        f"serves after {report['seconds']:.0f} s: {report['processes']} processes, "
        f"{report['memory_bytes'] / 1e9:.1f} GB",
    )
    difference = _compare_with_reference(run, outcome, deployment, url)
    return Served(outcome, place, deployment, url, folder, report, difference)


def _compare_with_reference(run: Run, outcome: Outcome, deployment: Deployment, url: str) -> dict[str, Any]:
    """How far the served variant is from its reference.

    Raises:
        StepFailed: too far for its scheme, so measuring it would measure a broken engine.
        TimedOut: the few short texts take it longer than a start may.
    """
    limit = reference_gap.limit(outcome.plan.scheme)
    reference = outcome.checkpoint.result["reference"] if outcome.checkpoint else []
    asked = asked_on(deployment.node, asking.compare_with_reference, f"{url}/v1", deployment.model, reference)
    started = time.monotonic()
    difference: dict[str, Any] = answer(asked, run.plan.experiment.serving.start_timeout_s)
    seconds = time.monotonic() - started
    mean = difference["mean_logprob_difference"]
    run.progress.say(outcome.name, f"differs from its reference by {mean:.3f} nats a token (limit {limit:.2f})")
    if wrong := reference_gap.wrong(difference, limit):
        raise StepFailed(wrong)
    return {**difference, "limit": limit, "seconds": seconds}


def _evaluation_settings(run: Run, outcome: Outcome, step: Step) -> dict[str, Any]:
    accuracy, race = run.plan.experiment.accuracy, run.plan.experiment.racing
    tasks = (race.proxy,) if race and step is outcome.plan.proxy else accuracy.tasks
    return {
        "tasks": [task.model_dump(mode="json") for task in tasks],
        "tasks_folder": str(TASKS_FOLDER),
        "chat_template": accuracy.chat_template,
        "system_instruction": accuracy.system_instruction,
        "seed": accuracy.seed,
        "share": step.settings.get("share"),
    }


def _evaluate(
    run: Run, served: Served, services: Services, evaluator: ActorHandle[Any], step: Step, called: str
) -> Record:
    """Accuracy by asking the deployment."""

    def ask(draft: Draft) -> None:
        run.progress.say(served.outcome.name, f"evaluating{called and f', {called}'} ...")
        with draft.on(served.place.host) as work:
            asked: Any = evaluator.evaluate_served.remote(
                f"{served.url}/v1",
                served.deployment.model,
                str(served.folder),
                step.settings["concurrency"],
                samples=str(work),
                **_evaluation_settings(run, served.outcome, step),
            )
            evaluated = _checked(answer(asked, run.plan.experiment.longest_step_s))
            draft.result = {**evaluated, "reference": served.difference}
        check_up(services.server, served.deployment, served.url)

    return _told(run, served.outcome, run.do_once(step, services, ask))


def _evaluate_alone(run: Run, outcome: Outcome, services: Services, step: Step, called: str) -> Record:
    """Accuracy with an engine in the evaluating actor, which owns the device for it."""
    experiment, hardware = run.plan.experiment, run.plan.hardware
    engine = experiment.accuracy.engine
    in_vllm = engine_args(experiment, hardware)
    in_transformers = {
        "dtype": run.plan.compute_dtype,
        "device": hardware.accelerator,
        "max_model_len": in_vllm["max_model_len"],
    }
    model = in_vllm if engine == "vllm" else in_transformers

    def ask(draft: Draft) -> None:
        with run.seated(outcome, services, to_be_measured=False) as place:
            cores = run.plan.seats.engines[place.seat]
            variables = vllm_server.variables(cores, experiment.serving.kv_cache_gib)
            needs = Needs(
                cores=len(cores) or 1,
                gpus=0 if hardware.on_cpu else experiment.serving.gpus,
                variables=variables | {"OMP_NUM_THREADS": str(len(cores) or 1)},
            )
            run.progress.say(outcome.name, f"evaluating with {engine}{called and f', {called}'} ...")
            with (
                draft.on(place.host) as work,
                outcome.checkpoint_on(place.host) as folder,
                lease(Evaluator, needs, node=place.host) as evaluator,
            ):
                asked: Any = evaluator.evaluate_checkpoint.remote(
                    engine,
                    str(folder),
                    model,
                    batch_size=step.settings["concurrency"],
                    samples=str(work),
                    **_evaluation_settings(run, outcome, step),
                )
                draft.result = _checked(answer(asked, experiment.longest_step_s))

    return _told(run, outcome, run.do_once(step, services, ask))


def _checked(evaluated: dict[str, Any]) -> dict[str, Any]:
    """The same results, where every task has enough documents for an interval."""
    tasks = evaluated["tasks"]
    if few := [name for name, found in tasks.items() if found["documents"] < 2]:
        raise StepFailed(f"task {few[0]} has {tasks[few[0]]['documents']} documents; a comparison needs two or more")
    return evaluated


def _told(run: Run, outcome: Outcome, record: Record) -> Record:
    figures = ", ".join(
        f"{task} {metric} {value:.3f}"
        for task, found in record.result["tasks"].items()
        for metric, value in list(found["metrics"].items())[:1]
    )
    run.progress.say(outcome.name, f"evaluated in {record.seconds:.0f} s: {figures}")
    for remark in prompts.remarks(record.result):
        run.progress.say(outcome.name, remark)
    return record
