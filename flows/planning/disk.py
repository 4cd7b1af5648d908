"""What a plan will write, by the disk that it is written on: each checkpoint once, at its own size.

Saving takes no room beside the checkpoint: transformers writes a shard where it stays. Not counted are what a search
may come upon, the caches of compiled kernels in the user's own folder, and what a server of MLflow's keeps.
"""

import shutil
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from configs.experiment import Experiment
from configs.model import HubModel, PathModel
from configs.storage import GIB
from flows import cluster
from flows.planning import hub
from flows.planning.plan import Plan
from flows.planning.sizes import Model, checkpoint_bytes, source_of
from flows.planning.variant_plan import VariantPlan
from flows.store.links import can_link, existing
from flows.store.records import Store

_BESIDE_WEIGHTS = 150_000_000
"""Bytes of a variant beside its weights: its tokenizer (17 MB are Llama-3.1's), and, once in the records and once in
MLflow, 10,000 documents of 3 kB and 100,000 requests of 0.3 kB."""


@dataclass(frozen=True)
class Writing:
    """Bytes that go into a folder of this machine."""

    setting: str
    """What says where."""
    folder: Path
    bytes: int


@dataclass(frozen=True)
class Disk:
    """A file system, what a plan will write on it, and the bytes that are free there."""

    writings: tuple[Writing, ...]
    free: int

    @property
    def bytes(self) -> int:
        """What the plan writes."""
        return sum(writing.bytes for writing in self.writings)

    def __str__(self) -> str:
        parts = " and ".join(
            f"{writing.bytes / 1e9:.1f} GB into {writing.folder} ({writing.setting})" for writing in self.writings
        )
        return f"about {parts}, {self.free / 1e9:.1f} GB free"


def disks(plan: Plan, model: Model | None, missing: Set[str]) -> list[Disk]:
    """What is left to write, disk by disk.

    Args:
        model: the base model; of None no size is guessed.
        missing: fingerprints of the steps without a record.
    """
    by_device: dict[int, list[Writing]] = {}
    for writing in _writings(plan, model, missing):
        if writing.bytes:
            by_device.setdefault(existing(writing.folder).stat().st_dev, []).append(writing)
    return [
        Disk(tuple(writings), shutil.disk_usage(existing(writings[0].folder)).free) for writings in by_device.values()
    ]


def _writings(plan: Plan, model: Model | None, missing: Set[str]) -> Iterator[Writing]:
    """What goes where, nothing included."""
    storage, made = plan.experiment.storage, _made(plan, model, missing) if model else []
    beside = _BESIDE_WEIGHTS * sum(any(step.fingerprint in missing for step in variant.steps) for variant in plan.tried)
    if isinstance(storage.root, Path):
        yield Writing("storage.root", storage.root, sum(made) + beside)
    else:
        pulled = min(sum(made), int(storage.cache_gib * GIB))
        yield Writing("storage.cache", storage.cache, pulled + max(made, default=0) + beside)
    fetched = {variant.checkpoint.fingerprint: variant for variant in plan.tried if _is_fetched(variant)}
    of_hub = sum(_bytes(plan, variant, model) for name, variant in fetched.items() if name in missing)
    yield Writing("HF_HUB_CACHE", hub.cache_folder("model"), of_hub)
    if (folder := _copied_to(plan.experiment)) is not None:
        yield Writing("tracking.uri", folder, sum(made))


def _is_fetched(variant: VariantPlan) -> bool:
    """Whether the hub's cache on this machine gets a checkpoint; of other nodes' caches nothing is known."""
    model = variant.model
    if not isinstance(model, HubModel) or cluster.is_named():
        return False
    return hub.cached_model(model.repository, model.revision) is None


def _copied_to(experiment: Experiment) -> Path | None:
    """The folder where MLflow keeps every checkpoint a second time; None where it links them, or sends them away."""
    root, artifacts = experiment.storage.root, experiment.artifacts
    if artifacts is None or not experiment.tracking.log_checkpoints:
        return None
    return None if isinstance(root, Path) and can_link(root, artifacts) else artifacts


def _made(plan: Plan, model: Model, missing: Set[str]) -> list[int]:
    """Bytes of every checkpoint that the store gets. One that is not made here is not written there where a run uses
    it in the user's folder, or in the hub's cache."""
    has_folder = isinstance(plan.experiment.storage.root, Path)
    written = {
        variant.checkpoint.fingerprint: variant
        for variant in plan.tried
        if not (isinstance(variant.model, PathModel) or (isinstance(variant.model, HubModel) and has_folder))
    }
    return [_bytes(plan, variant, model) for name, variant in written.items() if name in missing]


def _bytes(plan: Plan, variant: VariantPlan, base: Model | None) -> int:
    """Of a checkpoint's weights; 0 of those of which nothing is known yet."""
    if variant.scheme:
        return checkpoint_bytes(variant.scheme, base) if base else 0
    source = base if variant is plan.base else source_of(variant, Store.of(plan.experiment.storage))
    return source.bytes if source else 0
