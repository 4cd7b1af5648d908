"""The actors that all variants of a run share, up for the length of a block, and nothing left after it."""

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

import ray

from actors import environments
from actors.benchmarker import Benchmarker
from actors.placement.allocation import Slot
from actors.placement.coordinator import coordinator
from actors.placement.lease import Needs, lease
from actors.serving import end_deployment, serving_host
from configs.base import UserError
from configs.calibration import HubDataset
from flows import cluster
from flows.planning import hub
from flows.runtime.context import Run, Services


@contextlib.contextmanager
def services(run: Run) -> Iterator[Services]:
    """Coordinator, server and one benchmarker for every slot that is loaded at the same time.

    Raises:
        UserError: another experiment is at work on the cluster with slots of another shape.
    """
    slots, nodes = run.plan.slots, _nodes(run)
    conducting = coordinator(runtime_env={"py_executable": str(environments.interpreter("driver"))})
    held = ray.get(conducting.open.remote(nodes, slots))
    if held != slots:
        raise UserError(
            f"serving: {len(slots.engines)} engines per node requested, but a running experiment on this "
            f"cluster has {len(held.engines)}; wait for it to end, or use engines of the same sizes"
        )
    with contextlib.ExitStack() as leases:
        server = leases.enter_context(serving_host(conducting))
        benchmarkers = {}
        for node in nodes:
            for slot in range(len(slots.engines)):
                if slot == 0 or slots.together:
                    benchmarker = leases.enter_context(lease(Benchmarker, Needs(), node=node, restarts=-1))
                benchmarkers[Slot(node, slot)] = benchmarker
        try:
            yield Services(conducting, server, benchmarkers, secrets.token_hex(32), _calibration_commit(run))
        finally:
            ref: Any = server.applications.remote(run.application(""))
            for name in ray.get(ref):
                end_deployment(server, name, nodes)


def _calibration_commit(run: Run) -> str | None:
    """That of variants that were compressed before, or else the one that the revision stands for now."""
    source = run.plan.experiment.calibration.source if run.plan.experiment.calibration else None
    if not isinstance(source, HubDataset):
        return None
    made = [outcome.checkpoint.result for outcome in run.outcomes.values() if outcome.checkpoint]
    known = [checkpoint.calibration_commit for checkpoint in made if checkpoint.calibration_commit]
    need = hub.Needed("calibration.source.dataset", "dataset", source.dataset, source.revision)
    return known[0] if known else hub.commit(need)


def _nodes(run: Run) -> list[str]:
    """Ids of the nodes that have what any engine needs, and are of the kind that was planned for."""
    slots, on_cpu = run.plan.slots, run.plan.hardware.on_cpu
    cores = max(len(engine) for engine in slots.engines)
    gpus = 0 if on_cpu else max(serving.gpus for serving in run.plan.experiment.servings.values())
    offers = [(node["NodeID"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
    fitting = [name for name, has in offers if has.get("CPU", 0) >= cores and has.get("GPU", 0) >= gpus]
    return [name for name in fitting if cluster.is_alike(name, run.plan.hardware)]
