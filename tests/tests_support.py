"""What several tests need: machines, a model folder of one layer, a large model's shapes, a port, records."""

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.accuracy import Task
from configs.decision import Decision
from configs.hardware import Hardware
from configs.metrics import PERPLEXITIES
from flows.analysis import accuracy, answers
from flows.analysis.judgement import Difference
from flows.planning.variant_plan import VariantPlan
from flows.store.checkpoints import Tensor
from flows.store.folder import FolderFiles
from flows.store.records import Record, Store
from flows.store.steps import Step

BIG_CPU = Hardware(
    accelerator="cpu",
    name="a CPU",
    cores=2,
    memory_bytes=64 << 30,
    instructions=("avx2", "avx512f", "avx512_vnni"),
)
H100 = Hardware(
    accelerator="cuda",
    name="NVIDIA H100 80GB HBM3",
    cores=16,
    memory_bytes=1 << 37,
    gpus=1,
    gpu_memory_bytes=81559 << 20,
    compute_capability=9.0,
)


def write_model(folder: Path, inputs: int = 64) -> Path:
    """A whole checkpoint of one linear layer with so many inputs, without a chat template."""
    folder.mkdir(parents=True)
    entry = {"dtype": "F32", "shape": [2, inputs], "data_offsets": [0, 8 * inputs]}
    header = json.dumps({"layer.weight": entry}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8 * inputs))
    (folder / "config.json").write_text('{"model_type": "fake"}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


def llama_3_1_8b() -> list[Tensor]:
    """Every tensor of Llama-3.1-8B."""
    layer = {
        "self_attn.q_proj": (4096, 4096),
        "self_attn.k_proj": (1024, 4096),
        "self_attn.v_proj": (1024, 4096),
        "self_attn.o_proj": (4096, 4096),
        "mlp.gate_proj": (14336, 4096),
        "mlp.up_proj": (14336, 4096),
        "mlp.down_proj": (4096, 14336),
        "input_layernorm": (4096,),
        "post_attention_layernorm": (4096,),
    }
    shapes = {f"model.layers.{i}.{name}.weight": shape for i in range(32) for name, shape in layer.items()}
    shapes |= {
        "model.embed_tokens.weight": (128256, 4096),
        "lm_head.weight": (128256, 4096),
        "model.norm.weight": (4096,),
    }
    return [Tensor(name, "BF16", shape) for name, shape in shapes.items()]


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def evaluations_of(variant: VariantPlan) -> list[Step]:
    """All evaluations of a variant, the control last."""
    return [*variant.evaluations, *filter(None, [variant.control])]


def score(metric: str, kind: str = "mean", *, better: bool = True) -> dict[str, Any]:
    """A metric of a task as its record has it."""
    return {"metric": metric, "filter": "none", "kind": kind, "higher_is_better": better}


def record(folder: Path, metric: str, values: list[Any], better: bool = True, kind: str = "mean") -> Record:
    """An evaluation of one task, by its documents' values."""
    folder.mkdir(parents=True)
    rows = [{"doc_id": i, "doc_hash": str(i), metric: value} for i, value in enumerate(values)]
    (folder / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"metrics": {metric: 0.0}, "scores": [score(metric, kind, better=better)]}
    return Record(FolderFiles(folder), "evaluate", "v", "f", {}, {"tasks": {"task": task}}, 0.0, 0.0, {})


def differ(
    tmp_path: Path,
    base: list[Any],
    variant: list[Any],
    kind: str = "mean",
    task: dict[str, Any] | None = None,
    **decision: Any,
) -> Difference:
    """The difference of one task, whose metric is called by its kind.

    Args:
        task: what the experiment says of the task beside its name.
    """
    asked, tasks = Decision.model_validate(decision), [Task.model_validate({"name": "task", **(task or {})})]
    better = kind not in ("ter", *PERPLEXITIES)
    sides = [record(tmp_path / side, kind, values, better, kind) for side, values in (("v", variant), ("b", base))]
    (found,) = accuracy.differences(*(answers.read([side], tasks) for side in sides), asked, seed=1)
    return found


def write_records(
    store: Store,
    variant: VariantPlan,
    size_bytes: float,
    right_of: Sequence[dict[str, Sequence[bool]]],
    sweeps: Sequence[list[dict[str, Any]]],
    base: Sequence[list[dict[str, Any]]],
) -> None:
    """A variant's records as far as they are judged.

    Args:
        right_of: for each evaluation, the control last, which documents of each task were answered right.
        sweeps: for each repeat, the points of the load with their figures.
        base: the same of the base in turn with it.
    """
    with store.writing(variant.checkpoint) as draft:
        draft.result = {"weight_bytes": size_bytes}
    for step, tasks in zip(evaluations_of(variant), right_of, strict=True):
        with store.writing(step) as draft:
            draft.result = {"tasks": {}}
            for task, right in tasks.items():
                rows = (
                    {"doc_id": i, "doc_hash": f"{i:064}", "acc": float(r), "doc": "x" * 600}
                    for i, r in enumerate(right)
                )
                (draft.folder / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
                draft.result["tasks"][task] = {
                    "metrics": {"acc": 0.0},
                    "scores": [score("acc")],
                    "documents": len(right),
                }
    for step, points, beside in zip(variant.benchmarks, sweeps, base, strict=True):
        with store.writing(step) as draft:
            draft.result = {"points": points, "base": {"points": beside}, "company": [], "deployment": {}}
