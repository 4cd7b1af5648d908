"""What several tests need: machines, a model folder of one layer, a large model's shapes, a port, records."""

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.artifacts import Checkpoint, EngineReport, Evaluation, ReferenceGap, Score, TaskScores
from configs.accuracy import Task
from configs.decision import Decision
from configs.hardware import Hardware
from configs.metrics import PERPLEXITIES, Kind
from flows.analysis import accuracy, answers
from flows.analysis.judgement import Difference
from flows.planning.variant_plan import VariantPlan
from flows.store.checkpoints import Tensor
from flows.store.folder import FolderFiles
from flows.store.records import Record, Store
from flows.store.results import Benchmark, Figures, Side
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


def evaluations_of(variant: VariantPlan) -> list[Step[Evaluation]]:
    """All evaluations of a variant, the control last."""
    return [*variant.evaluations, *filter(None, [variant.control])]


def checkpoint(weight_bytes: int = 0, **fields: Any) -> Checkpoint:
    """A checkpoint of which only its size is known."""
    return Checkpoint(**{"reference": (), "seconds": {}, "files": {}, **fields}, weight_bytes=weight_bytes)


def scored(metric: str, kind: Kind = "mean", *, better: bool = True, documents: int = 0, **fields: Any) -> TaskScores:
    """A task with one metric."""
    scores = (Score(metric, "none", kind, better),)
    return TaskScores(metrics={metric: 0.0}, scores=scores, documents=documents, **fields)


def benchmark(
    points: Sequence[Figures],
    base: Sequence[Figures] | None = None,
    deployment: EngineReport = EngineReport(seconds=1.0, processes=1, memory_bytes=1),  # noqa: B008 - it is frozen
    **fields: Any,
) -> Benchmark:
    """One repeat of a load, by the figures of its points, and those of the baseline in turn with it."""
    gap = ReferenceGap(0.0, 0.0, 0.0, ())
    engine = {"engine_cores": (), "client_cores": (), "deployment": deployment, "reference": gap}
    beside = None if base is None else Side(points=tuple(base), **engine)
    return Benchmark(points=tuple(points), base=beside, **engine, **fields)


def evaluation_in(folder: Path, tasks: dict[str, TaskScores]) -> Record[Evaluation]:
    """The record of an evaluation whose samples lie in a folder."""
    return Record(FolderFiles(folder), "evaluate", "v", "f", {}, Evaluation(tasks), 0.0, 0.0, {})


def record(
    folder: Path, metric: str, values: list[Any], better: bool = True, kind: Kind = "mean"
) -> Record[Evaluation]:
    """An evaluation of one task, by its documents' values."""
    folder.mkdir(parents=True)
    rows = [{"doc_id": i, "doc_hash": str(i), metric: value} for i, value in enumerate(values)]
    (folder / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return evaluation_in(folder, {"task": scored(metric, kind, better=better, documents=len(values))})


def differ(
    tmp_path: Path,
    base: list[Any],
    variant: list[Any],
    kind: Kind = "mean",
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
    size_bytes: int,
    right_of: Sequence[dict[str, Sequence[bool]]],
    sweeps: Sequence[list[dict[str, Any]]],
    base: Sequence[list[dict[str, Any]]],
) -> None:
    """A variant's records as far as they are judged.

    Args:
        right_of: for each evaluation, the control last, which documents of each task were answered right.
        sweeps: for each repeat, the points of the load with their figures.
        base: the same of the baseline in turn with it.
    """
    with store.writing(variant.checkpoint) as draft:
        draft.result = checkpoint(size_bytes)
    for step, tasks in zip(evaluations_of(variant), right_of, strict=True):
        with store.writing(step) as draft:
            draft.result = Evaluation({task: scored("acc", documents=len(right)) for task, right in tasks.items()})
            for task, right in tasks.items():
                rows = (
                    {"doc_id": i, "doc_hash": f"{i:064}", "acc": float(r), "doc": "x" * 600}
                    for i, r in enumerate(right)
                )
                (draft.folder / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step, points, beside in zip(variant.benchmarks, sweeps, base, strict=True):
        with store.writing(step) as draft:
            draft.result = benchmark(points, beside)
