"""The command line, the only argument parser.

Exit codes: 0 done; 1 a stage or a verification failed; 2 bad input, refused before any device was used; 3 `--gate` and
no variant passed.
"""

import argparse
import errno
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from actors import environments
from configs.base import UserError, in_one_line
from configs.experiment import Experiment
from configs.loading import load_experiment
from configs.storage import storage_at
from flows import cluster, doctor, interruption, own_ray
from flows.analysis import compare
from flows.deploying import candidate, deploy, publish
from flows.experiment import checked_plan, logs_folder, planned, run_experiment
from flows.planning import preflight
from flows.planning.plan import Plan
from flows.reporting import live, preview, report, status
from flows.runtime import failures
from flows.runtime.context import Run
from flows.runtime.progress import Progress
from flows.store import clean
from flows.store.records import Store
from flows.tracking import downloads, registered
from flows.tracking.client import ui_command

DONE, FAILED, BAD_INPUT, GATE_SHUT = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except (UserError, environments.EnvironmentMissing) as error:
        print(f"error: {in_one_line(str(error))}", file=sys.stderr)
        return BAD_INPUT
    except own_ray.NotStarted as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"error: {error}; free some space, then run the same command again to resume", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(interruption.STOPPED, file=sys.stderr)
        return interruption.INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows", description="Find the compressed form of a language model to deploy."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    described = {
        "plan": (_plan, "show what would run, what is already done and what cannot work"),
        "run": (_run, "quantize, evaluate, benchmark, compare, track, decide"),
        "status": (_status, "show finished and missing steps"),
        "report": (_report, "write the report again from the records"),
        "deploy": (_deploy, "serve the recommended variant as measured, and verify it"),
    }
    for name, (command, text) in described.items():
        subparser = commands.add_parser(name, help=text, description=text)
        subparser.add_argument("experiment", type=Path, metavar="EXPERIMENT.yaml")
        _add_set(subparser, command)
        if name == "plan":
            subparser.add_argument("--steps", action="store_true", help="list every step with its fingerprint")
        if name == "run":
            subparser.add_argument(
                "--gate",
                action="store_true",
                help="exit with 3 unless a variant is to be deployed in place of the baseline (for every workload)",
            )
        if name == "deploy":
            subparser.add_argument("--variant", metavar="NAME", help="instead of the recommended variant")
            subparser.add_argument(
                "--target",
                choices=sorted({**deploy.TARGETS, **deploy.TEXTS}),
                default="vllm",
                help="vllm: a process on this machine; serve: the Ray cluster that RAY_ADDRESS names, with "
                "replacement without a failed request; kserve: KServe, by kubectl or oc, with --apply",
            )
            instead = subparser.add_mutually_exclusive_group()
            instead.add_argument("--rollback", action="store_true", help="restore the previous deployment")
            instead.add_argument("--delete", action="store_true", help="end the deployment")
            subparser.add_argument("--apply", action="store_true", help="apply the manifests to the cluster of kubectl")
            subparser.add_argument(
                "--print", action="store_true", help="print the deployment as text instead of starting it"
            )
    _add_publish(commands)
    _add_verify(commands)
    text = "list unreferenced records and leftovers in the store"
    cleaning = commands.add_parser("clean", help=text, description=text)
    cleaning.add_argument(
        "experiments", type=Path, nargs="*", metavar="EXPERIMENT.yaml", help="also keep the steps that it plans now"
    )
    cleaning.add_argument("--store", metavar="ROOT", help="storage.root (default: MSF_STORE, or the usual folder)")
    cleaning.add_argument("--remove", action="store_true", help="remove them")
    cleaning.set_defaults(command=_clean)
    text = "check this machine, or the cluster that RAY_ADDRESS names"
    examining = commands.add_parser("doctor", help=text, description=text)
    examining.add_argument(
        "experiment", type=Path, nargs="?", metavar="EXPERIMENT.yaml", help="check its store, port and accelerator"
    )
    examining.add_argument("--set", action="append", metavar="KEY=VALUE", help="change a field")
    examining.set_defaults(command=_examine)
    return parser


def _examine(options: argparse.Namespace) -> int:
    experiment = load_experiment(options.experiment, options.set) if options.experiment else None
    findings = doctor.examine(experiment)
    doctor.show(findings, _console())
    return FAILED if any(finding.todo for finding in findings) else DONE


def _add_set(subparser: argparse.ArgumentParser, command: Callable[[Experiment, argparse.Namespace], int]) -> None:
    subparser.add_argument(
        "--set", action="append", metavar="KEY=VALUE", help="change a field, such as load.duration_s=5"
    )
    subparser.set_defaults(command=_on_experiment(command))


def _add_verify(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "check that the server at an address is the measured variant"
    subparser = commands.add_parser("verify", help=text, description=text)
    subparser.add_argument("url", metavar="URL", help="such as http://127.0.0.1:8000")
    subparser.add_argument("--experiment", type=Path, metavar="EXPERIMENT.yaml", required=True)
    subparser.add_argument("--variant", metavar="NAME", help="instead of the recommended variant")
    _add_set(subparser, _verify)


def _add_publish(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "upload a compressed checkpoint with its model card to a hub repository"
    subparser = commands.add_parser("publish", help=text, description=text)
    subparser.add_argument("experiment", type=Path, metavar="EXPERIMENT.yaml")
    subparser.add_argument("--repository", metavar="OWNER/NAME", required=True, help="created if it does not exist")
    subparser.add_argument("--variant", metavar="NAME", help="instead of the recommended variant")
    subparser.add_argument("--public", action="store_true", help="make a new repository public")
    subparser.add_argument("--yes", action="store_true", help="upload; without it, only list the files")
    _add_set(subparser, _publish)


def _on_experiment(
    command: Callable[[Experiment, argparse.Namespace], int],
) -> Callable[[argparse.Namespace], int]:
    """A command on one experiment, which is read first."""
    return lambda options: command(load_experiment(options.experiment, options.set), options)


def _run(experiment: Experiment, options: argparse.Namespace) -> int:
    with live.watching(experiment.names) as progress:
        run, judgement = run_experiment(experiment, progress)
    console = _console()
    report.show(run, judgement, console)
    folder = experiment.results
    console.print(f"\ndecision  {folder / 'decision.json'}", soft_wrap=True)
    console.print(f"report    {folder / 'report.html'}", soft_wrap=True)
    if run.not_tracked:
        console.print(
            f"mlflow    NOT WRITTEN, run the same command again to write it: {run.not_tracked}",
            soft_wrap=True,
            markup=False,
        )
        return FAILED
    console.print(f"mlflow    {ui_command(experiment, sys.executable)}", soft_wrap=True)
    if any(outcome.failure and outcome.plan.left_out is None for outcome in run.outcomes.values()):
        return FAILED
    if options.gate and not judgement.deploys:
        return GATE_SHUT
    return DONE


def _plan(experiment: Experiment, options: argparse.Namespace) -> int:
    preview.show_plan(checked_plan(experiment), Store.of(experiment.storage), _console(), steps=options.steps)
    return DONE


def _status(experiment: Experiment, options: argparse.Namespace) -> int:
    status.show_status(_state(experiment), _console())
    return DONE


def _report(experiment: Experiment, options: argparse.Namespace) -> int:
    run = _state(experiment)
    judgement = compare.judge(run.evidence)
    report.write(run, judgement)
    report.show(run, judgement, _console())
    print(f"\nreport    {experiment.results / 'report.html'}")
    return DONE


def _deploy(experiment: Experiment, options: argparse.Namespace) -> int:
    if options.print and options.target not in deploy.TEXTS:
        raise UserError(f"--target {options.target}: has no text form; remove --print")
    applied = deploy.TARGETS[options.target].only_if_applied
    if applied and not (options.print or options.apply):
        raise UserError(f"--target {options.target}: applies nothing by itself; add --apply, or --print")
    if options.apply and not applied:
        raise UserError(f"--apply: --target {options.target} deploys without it; remove it")
    if options.delete:
        deploy.delete(experiment, deploy.standing(options.target), _console())
        return DONE
    chosen = (
        _rolled_back(experiment, options) if options.rollback else candidate.choose(_state(experiment), options.variant)
    )
    if options.print:
        candidate.check_files(chosen)
        print(deploy.TEXTS[options.target].as_text(chosen), end="")
        return DONE
    return DONE if deploy.deploy(chosen, deploy.TARGETS[options.target], _console()) else FAILED


def _rolled_back(experiment: Experiment, options: argparse.Namespace) -> candidate.Candidate:
    earlier, variant = deploy.before(experiment, deploy.standing(options.target))
    return candidate.again_as_recorded(_state(earlier), variant)


def _publish(experiment: Experiment, options: argparse.Namespace) -> int:
    publication = publish.Publication(
        candidate.choose(_state(experiment), options.variant), options.repository, options.public
    )
    return DONE if publish.publish(publication, _console(), really=options.yes) else FAILED


def _verify(experiment: Experiment, options: argparse.Namespace) -> int:
    if not options.url.startswith(("http://", "https://")):
        raise UserError(f"URL: {options.url!r} is not an address; give one such as http://127.0.0.1:8000")
    verification = deploy.verified(options.url, candidate.choose(_state(experiment), options.variant), _console())
    return DONE if verification.passed else FAILED


def _clean(options: argparse.Namespace) -> int:
    plans = [_planned(experiment) for experiment in [load_experiment(path) for path in options.experiments]]
    variants = [variant for plan in plans for variant in plan.variants]
    fingerprints = {step.fingerprint for variant in variants for step in variant.steps}
    storage = storage_at(options.store)
    store = Store.of(storage)
    leftovers = [*clean.unreferred(store, fingerprints), *downloads.unneeded(storage, store, fingerprints)]
    clean.clean(store.root, leftovers, _console(), remove=options.remove)
    return DONE


def _console() -> Console:
    """The terminal, or wide plain lines where there is none."""
    return Console(width=None if sys.stdout.isatty() else 140)


def _planned(experiment: Experiment) -> Plan:
    """The plan of an experiment, whether or not this machine could do it now."""
    experiment = registered.resolved(experiment, anew=False)
    preflight.check_inputs(experiment, cluster.accelerator(experiment))
    return planned(experiment)


def _state(experiment: Experiment) -> Run:
    """What the records say of an experiment, without running anything."""
    run = Run.of(_planned(experiment), Store.of(experiment.storage), Progress(), logs_folder(experiment))
    failures.recall(run)
    return run
