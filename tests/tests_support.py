"""What several tests need: a model folder made of one layer, a port, and a variant's records."""

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.plan import VariantPlan
from flows.records import Store
from flows.steps import Step


def write_model(folder: Path, inputs: int = 64) -> Path:
    """A whole checkpoint of one linear layer with so many inputs, without a chat template."""
    folder.mkdir(parents=True)
    entry = {"dtype": "F32", "shape": [2, inputs], "data_offsets": [0, 8 * inputs]}
    header = json.dumps({"layer.weight": entry}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8 * inputs))
    (folder / "config.json").write_text('{"model_type": "fake"}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def evaluations_of(variant: VariantPlan) -> list[Step]:
    """All evaluations of a variant, the control last."""
    return [*variant.evaluations, *filter(None, [variant.control])]


def write_records(
    store: Store,
    variant: VariantPlan,
    size_bytes: float,
    answers: Sequence[dict[str, Sequence[bool]]],
    sweeps: Sequence[list[dict[str, Any]]],
) -> None:
    """A variant's records as far as they are judged.

    Args:
        answers: for each evaluation, the control last, which documents of each task were answered right.
        sweeps: for each repeat, the points of the load with their figures.
    """
    with store.writing(variant.checkpoint) as draft:
        draft.result = {"weight_bytes": size_bytes}
    for step, tasks in zip(evaluations_of(variant), answers, strict=True):
        with store.writing(step) as draft:
            draft.result = {"tasks": {}}
            for task, right in tasks.items():
                rows = (
                    {"doc_id": i, "doc_hash": f"{i:064}", "acc": float(r), "doc": "x" * 600}
                    for i, r in enumerate(right)
                )
                (draft.folder / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
                figures = {"metrics": {"acc": 0.0}, "higher_is_better": {"acc": True}, "documents": len(right)}
                draft.result["tasks"][task] = figures
    for step, points in zip(variant.benchmarks, sweeps, strict=True):
        with store.writing(step) as draft:
            draft.result = {"points": points, "company": [], "deployment": {}}
