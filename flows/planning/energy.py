"""Whether an experiment that is decided by energy can be: who tells it, and which records have it."""

from configs.base import UserError
from flows import cluster
from flows.planning.plan import Plan
from flows.store.records import Store

_FIELD = "decision.objective: 'energy'"
_OTHERWISE = "choose another objective, such as throughput or cost"


def check(plan: Plan) -> None:
    """Raise UserError where the objective is energy and the hardware, or a record that would be used, tells none."""
    if plan.experiment.decision.objective != "energy":
        return
    if plan.hardware.on_cpu:
        raise UserError(f"{_FIELD} on a CPU, where only a GPU tells the energy that it takes; {_OTHERWISE}")
    for variant in plan.tried:
        if (share := variant.serving.gpu_share) < 1:
            raise UserError(
                f"{_FIELD} with gpu_share {share:g} of {variant.name!r}: a GPU tells the energy of all its engines "
                f"together; give each engine its own, or {_OTHERWISE}"
            )
    _told(plan)
    _in_records(plan)


def _told(plan: Plan) -> None:
    for node, gpus in cluster.gpu_energy(plan.hardware).items():
        silent = [gpu["name"] for gpu in gpus if gpu["energy_j"] is None]
        if silent or not gpus:
            where = f" of node {node[:8]}" if node else ""
            raise UserError(
                f"{_FIELD}, but NVML tells no energy of {silent[0] if silent else plan.hardware.name}{where} (as of a "
                f"part of a GPU, or before Volta); {_OTHERWISE}"
            )


def _in_records(plan: Plan) -> None:
    """Records that were made before energy was measured have none, and none is compared with them."""
    store = Store.of(plan.experiment.storage)
    for variant in plan.tried:
        records = [record for step in variant.benchmarks if (record := store.find(step))]
        if any("power_w" not in point for record in records for point in record.result.points):
            raise UserError(
                f"{_FIELD}, but repeats of {variant.name!r} in the store were measured without it; set another "
                f"load.seed to measure all of them again, or {_OTHERWISE}"
            )
