"""The accuracy of a checkpoint, slice by slice of the documents."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from ray.actor import ActorHandle

from actors.artifacts import Evaluation
from actors.evaluator import Evaluator
from actors.placement.allocation import Slot
from actors.placement.lease import Needs, lease
from actors.programs import vllm_server
from actors.serving import check_up
from configs.accuracy import COMPARABLE, TASKS_FOLDER
from flows.analysis import early_stopping
from flows.planning import prompts
from flows.runtime.context import Run, Services, answer
from flows.runtime.errors import EarlyStopped, StepFailed
from flows.runtime.outcome import Outcome
from flows.stages.inputs import unchanged
from flows.stages.served import Served
from flows.store.records import Draft, Record
from flows.store.steps import Step


def evaluator_at(slot: Slot) -> AbstractContextManager[ActorHandle[Any]]:
    """An evaluator beside an engine; it imports its libraries while that starts."""
    return lease(Evaluator, Needs(), node=slot.host)


def evaluate_served(
    run: Run, served: Served, services: Services, evaluator: ActorHandle[Any], slices: Sequence[int]
) -> None:
    """Every evaluation on some slices of the documents that has no record, by requests to an engine that is up.

    Raises:
        EarlyStopped: a slice shows that the variant cannot be acceptable.
    """
    _fill_in(run, served.outcome, slices, partial(_by_requests, run, served, services, evaluator))


def evaluate_in_actor(run: Run, outcome: Outcome, services: Services, slices: Sequence[int]) -> None:
    """The same with an engine in the evaluating actor, which owns the device for it."""
    _fill_in(run, outcome, slices, partial(_in_actor, run, outcome, services))


def _fill_in(
    run: Run,
    outcome: Outcome,
    slices: Sequence[int],
    evaluated: Callable[[Step[Evaluation], str], Record[Evaluation]],
) -> None:
    """The proxy, the slices, with the last of them the control.

    Args:
        evaluated: does a step, which progress calls by the second argument.
    """
    if outcome.plan.proxy and outcome.proxy is None:
        outcome.proxy = evaluated(outcome.plan.proxy, "a short text")
        stop_if_hopeless(run, outcome)
    for index in slices:
        if outcome.evaluations[index] is None:
            outcome.evaluations[index] = evaluated(outcome.plan.evaluations[index], "")
            stop_if_hopeless(run, outcome)
    if outcome.plan.control and not outcome.evaluated_on(slices):
        outcome.control = evaluated(outcome.plan.control, "as control")


def stop_if_hopeless(run: Run, outcome: Outcome) -> None:
    """Raise EarlyStopped where the records so far say so; those of the baseline as far as it has got."""
    evidence = run.evidence_on(outcome)
    if stopped := early_stopping.beaten(outcome, evidence.baseline, evidence.experiment):
        raise EarlyStopped(stopped.reason)


def _of_evaluation(step: Step[Evaluation]) -> dict[str, Any]:
    """The arguments of an evaluation that are the same with every engine."""
    names = ("tasks", "chat_template", "system_instruction", "seed", "allow_code")
    return {
        **{name: step.orders[name] for name in names},
        "share": step.orders.get("share"),
        "tasks_folder": str(TASKS_FOLDER),
    }


def _by_requests(
    run: Run, served: Served, services: Services, evaluator: ActorHandle[Any], step: Step[Evaluation], called: str
) -> Record[Evaluation]:
    def ask(draft: Draft[Evaluation]) -> None:
        run.progress.say(served.outcome.name, f"evaluating{called and f', {called}'} ...")
        with draft.on(served.slot.host) as work, unchanged(step, served.slot.host):
            ref: Any = evaluator.evaluate_served.remote(
                f"{served.url}/v1",
                served.deployment.model,
                str(served.folder),
                step.orders["concurrency"],
                served.deployment.key,
                samples=str(work),
                **_of_evaluation(step),
            )
            evaluated = _checked(answer(ref, run.plan.experiment.longest_step_s))
            draft.result = replace(evaluated, reference=served.difference)
        check_up(services.server, served.deployment, served.url)

    return _reported(run, served.outcome, run.do_once(step, services, ask))


def _in_actor(
    run: Run, outcome: Outcome, services: Services, step: Step[Evaluation], called: str
) -> Record[Evaluation]:
    experiment, hardware = run.plan.experiment, run.plan.hardware
    engine, in_vllm = step.orders["engine"], step.orders["engine_args"]
    in_transformers = {
        "dtype": run.plan.compute_dtype,
        "device": hardware.accelerator,
        "max_model_len": in_vllm["max_model_len"],
    }
    model = in_vllm if engine == "vllm" else in_transformers

    gpus = 0.0 if hardware.on_cpu else in_vllm["tensor_parallel_size"] * experiment.serving.gpu_share

    def ask(draft: Draft[Evaluation]) -> None:
        sizes = (run.plan.slots.taken_by(gpus),)
        with run.holding_slots(outcome, services, to_be_measured=False, sizes=sizes) as slot:
            cores = run.plan.slots.engines[slot.index]
            variables = vllm_server.variables(cores, outcome.plan.serving.kv_cache_gib)
            needs = Needs(
                cores=len(cores) or 1,
                gpus=gpus,
                variables=variables | {"OMP_NUM_THREADS": str(len(cores) or 1)},
            )
            run.progress.say(outcome.name, f"evaluating with {engine}{called and f', {called}'} ...")
            with (
                draft.on(slot.host) as work,
                unchanged(step, slot.host),
                outcome.checkpoint_on(slot.host) as folder,
                lease(Evaluator, needs, node=slot.host) as evaluator,
            ):
                ref: Any = evaluator.evaluate_checkpoint.remote(
                    engine,
                    str(folder),
                    model,
                    batch_size=step.orders["concurrency"],
                    samples=str(work),
                    **_of_evaluation(step),
                )
                draft.result = _checked(answer(ref, experiment.longest_step_s))

    return _reported(run, outcome, run.do_once(step, services, ask))


def _checked(evaluated: Evaluation) -> Evaluation:
    """The same results, where every task has enough documents for an interval."""
    tasks = evaluated.tasks
    if few := [name for name, scores in tasks.items() if scores.documents < COMPARABLE]:
        raise StepFailed(
            f"task {few[0]} has {tasks[few[0]].documents} documents; a comparison needs {COMPARABLE} or more"
        )
    return evaluated


def _reported(run: Run, outcome: Outcome, record: Record[Evaluation]) -> Record[Evaluation]:
    figures = ", ".join(
        f"{task} {metric} {value:.3f}"
        for task, scores in record.result.tasks.items()
        for metric, value in list(scores.metrics.items())[:1]
    )
    run.progress.say(outcome.name, f"evaluated in {record.seconds:.0f} s: {figures}")
    for remark in prompts.remarks(record.result):
        run.progress.say(outcome.name, remark)
    return record
