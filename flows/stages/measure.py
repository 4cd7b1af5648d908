"""Accuracy and load of one checkpoint: it is served, compared with its reference, then evaluated slice by slice; and
loaded in turn with the base (`flows.stages.block`)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ray.actor import ActorHandle

from actors.evaluator import Evaluator
from actors.placement.lease import Needs, lease
from actors.programs import vllm_server
from actors.serving import check_up
from configs.accuracy import TASKS_FOLDER
from flows.analysis import early_stopping
from flows.planning import prompts
from flows.planning.plan import engine_args
from flows.runtime.context import Hopeless, Outcome, Run, Services, StepFailed, answer
from flows.stages.block import put_under_load
from flows.stages.served import Served, bring_up, serving
from flows.store.records import Draft, Record
from flows.store.steps import Step


def measure(run: Run, outcome: Outcome, services: Services, slices: Sequence[int]) -> None:
    """Fill in the evaluation of some slices of the documents, and the benchmarks; what has a record stays.

    Raises:
        Hopeless: a slice shows that the variant cannot be acceptable.
    """
    _stop_if_hopeless(run, outcome)
    if run.plan.experiment.accuracy.engine != "served":
        _fill_in(run, outcome, slices, partial(_evaluate_alone, run, outcome, services))
    # Where one engine has the host for itself, the one that answers is loaded before another is started.
    one_engine = len(run.plan.seats.engines) == 1
    if one_engine and not (outcome.evaluated_on(slices) or outcome.loaded):
        put_under_load(run, outcome, services, partial(_answer_first, run, services, slices))
    if not outcome.evaluated_on(slices):
        with (
            run.seated(outcome, services, to_be_measured=False, to_be_measured_next=not outcome.loaded) as place,
            serving(run, outcome, services, place) as started,
            lease(Evaluator, Needs(), node=place.host) as evaluator,  # imports its libraries while the engine starts
        ):
            served = bring_up(run, services, started)
            _fill_in(run, outcome, slices, partial(_evaluate, run, served, services, evaluator))
    if not outcome.loaded:
        put_under_load(run, outcome, services)


def _answer_first(run: Run, services: Services, slices: Sequence[int], served: Served) -> None:
    """The evaluation of a variant that is loaded next."""
    with lease(Evaluator, Needs(), node=served.place.host) as evaluator:
        _fill_in(run, served.outcome, slices, partial(_evaluate, run, served, services, evaluator))


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


def _stop_if_hopeless(run: Run, outcome: Outcome) -> None:
    """Raise Hopeless where the records so far say so; those of the base as far as it has got."""
    base = run.base if outcome is run.base else Outcome.of(run.plan.base, run.store)
    if found := early_stopping.hopeless(outcome, base, run.plan.experiment):
        raise Hopeless(found.reason)


def _evaluation_settings(run: Run, outcome: Outcome, step: Step) -> dict[str, Any]:
    accuracy, race = run.plan.experiment.accuracy, run.plan.experiment.racing
    tasks = (race.proxy,) if race and step is outcome.plan.proxy else accuracy.tasks
    return {
        "tasks": [task.model_dump(mode="json") for task in tasks],
        "tasks_folder": str(TASKS_FOLDER),
        "chat_template": accuracy.chat_template,
        "system_instruction": accuracy.system_instruction,
        "seed": accuracy.seed,
        "allow_code": accuracy.allow_code,
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
