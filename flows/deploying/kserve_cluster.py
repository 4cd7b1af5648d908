"""The target `kserve`: the manifests of `flows.deploying.kserve`, applied by kubectl or oc, and only where `--apply`
is given.

The service is verified through a port that kubectl forwards from this machine's loopback to its pod, so a route, a
proxy in front of it or a closed network is in nobody's way. Every variant is a service of its own.
"""

import contextlib
import json
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import yaml

from actors.programs import vllm_server
from configs.base import UserError
from configs.serving import api_key
from flows.deploying import kserve
from flows.deploying.candidate import Candidate
from flows.deploying.target import Deployed
from flows.runtime.errors import StepFailed

_ANSWER_S = 60.0
"""For one answer of kubectl."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class KServeCluster:
    """An InferenceService on the cluster that kubectl's present context names."""

    kind: ClassVar[str] = "kserve"
    only_if_applied: ClassVar[bool] = True

    @contextlib.contextmanager
    def deploying(self, candidate: Candidate) -> Iterator[Deployed]:
        """A service that is ready. Where the block raises, it is what it was before, or gone.

        Raises:
            UserError: no client, no key for a service that asks for one, or a service of that name that is not ours.
            StepFailed: the cluster refused it, or it was not ready within `serving.start_timeout_s`.
        """
        manifests = kserve.manifests_of(candidate)
        settings = candidate.run.plan.experiment.kserve
        assert settings is not None, "the manifests were made of it"
        if settings.auth == "api-key" and api_key() is None:
            raise UserError(
                f"{vllm_server.KEY}: missing; set it to the key in the secret {settings.secret} of the service"
            )
        cluster = _Cluster(settings.namespace)
        name = manifests[-1]["metadata"]["name"]
        kinds = ",".join(manifest["kind"].lower() for manifest in reversed(manifests))
        before = [cluster.last_applied(manifest["kind"].lower(), name) for manifest in manifests]
        candidate.run.progress.say(
            candidate.variant, f"applying {name} in {settings.namespace}; waiting until it is ready ..."
        )
        try:
            cluster.apply(manifests)
            cluster.await_ready(name, candidate.run.plan.experiment.serving.start_timeout_s)
            with cluster.forwarded(f"deployment/{name}-predictor", kserve.PORT) as address:
                yield Deployed(
                    kind=self.kind,
                    variant=candidate.variant,
                    model=name,
                    url=cluster.address(name) or address,
                    verified_at=address,
                    checkpoint=candidate.checkpoint.fingerprint,
                    how="python -m flows deploy EXPERIMENT.yaml --target kserve --print | kubectl apply -f -",
                    stop=f"{cluster.client} delete -n {settings.namespace} {kinds} {name}",
                    log=f"{cluster.client} logs -n {settings.namespace} deployment/{name}-predictor",
                    mark=f"inferenceservice {settings.namespace}/{name}",
                    cores=(),
                    application=name,
                )
        except BaseException:
            for manifest, earlier in zip(manifests, before, strict=True):
                if earlier is None:
                    cluster.delete(manifest["kind"].lower(), name)
                else:
                    cluster.apply([earlier])
            raise


class _Cluster:
    """kubectl or oc, in one namespace."""

    def __init__(self, namespace: str) -> None:
        client = next(filter(None, map(shutil.which, ("kubectl", "oc"))), None)
        if client is None:
            raise UserError("--apply: neither kubectl nor oc is on PATH; install one, or print the manifests (--print)")
        self.client, self.namespace = client, namespace

    def last_applied(self, kind: str, name: str) -> dict[str, Any] | None:
        """What a resource was made of; None where there is none."""
        text = self._ask("get", kind, name, "--ignore-not-found", "-o", "json")
        if not text.strip():
            return None
        kept = json.loads(text)["metadata"].get("annotations", {}).get(_LAST_APPLIED)
        if kept is None:
            raise UserError(
                f"kserve.namespace: {self.namespace} has a {kind} {name} that was not made by `apply` and could not "
                "be restored; delete it, or choose another namespace"
            )
        applied: dict[str, Any] = json.loads(kept)
        return applied

    def apply(self, manifests: list[dict[str, Any]]) -> None:
        self._ask("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests, sort_keys=False))

    def delete(self, kind: str, name: str) -> None:
        self._ask("delete", kind, name, "--ignore-not-found", "--wait=false")

    def await_ready(self, name: str, seconds: float) -> None:
        service = f"inferenceservice/{name}"
        try:
            self._ask("wait", "--for=condition=Ready", service, f"--timeout={seconds:.0f}s", patience_s=seconds + 30)
        except StepFailed as failure:
            status = json.loads(self._ask("get", service, "-o", "json")).get("status", {})
            unmet = [condition for condition in status.get("conditions", []) if condition["status"] != "True"]
            reasons = [
                f"{condition['type']}: {condition.get('message') or condition.get('reason') or condition['status']}"
                for condition in unmet
            ]
            raise StepFailed("; ".join(reasons) or str(failure)) from None

    def address(self, name: str) -> str | None:
        """Where the service says that it answers."""
        status = json.loads(self._ask("get", f"inferenceservice/{name}", "-o", "json")).get("status", {})
        address: str | None = status.get("url")
        return address

    @contextlib.contextmanager
    def forwarded(self, resource: str, port: int) -> Iterator[str]:
        """An address on this machine's loopback that leads to a pod's port, inside the block."""
        with subprocess.Popen(
            [self.client, "-n", self.namespace, "port-forward", "--address=127.0.0.1", resource, f":{port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                yield f"http://127.0.0.1:{_forwarded_port(process)}"
            finally:
                process.terminate()

    def _ask(self, *arguments: str, stdin: str | None = None, patience_s: float = _ANSWER_S) -> str:
        command = [self.client, "-n", self.namespace, *arguments]
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=patience_s, check=False)
        except subprocess.TimeoutExpired:
            raise StepFailed(f"{' '.join(command[:5])} did not end within {patience_s:.0f} s") from None
        if done.returncode:
            raise StepFailed(f"{' '.join(command[:5])}: {' '.join(done.stderr.split())[:300]}")
        return done.stdout


def _forwarded_port(process: subprocess.Popen[bytes]) -> int:
    """The port that kubectl says it listens on."""
    assert process.stdout is not None
    deadline, output = time.monotonic() + _ANSWER_S, b""
    while time.monotonic() < deadline and process.poll() is None:
        if select.select([process.stdout], [], [], 1.0)[0]:
            output += os.read(process.stdout.fileno(), 4096)
        if match := re.search(rb"127\.0\.0\.1:(\d+) ->", output):
            return int(match[1])
    raise StepFailed(f"no port was forwarded: {' '.join(output.decode(errors='replace').split())[:300]}")
