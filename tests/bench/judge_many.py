"""Seconds and memory of decision and report for many variants with many documents, from made-up records.

"$(python3 actors/environments.py path driver)" tests/bench/judge_many.py --folder SCRATCH
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from configs.hardware import Hardware
from configs.loading import load_experiment
from flows import compare, plan, report
from flows.context import Run
from flows.progress import Progress
from flows.records import Store

MACHINE = Hardware(accelerator="cpu", name="made up", cores=2, memory_bytes=1 << 40, instructions=("avx512f",))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--variants", type=int, default=100)
    parser.add_argument("--documents", type=int, default=10_000)
    options = parser.parse_args()
    schemes = [
        {"kind": "int8-w8a8", "name": f"v{i:03}", "smoothquant": i / options.variants} for i in range(options.variants)
    ]
    experiment = load_experiment(
        Path("configs/experiments/smollm2-cpu.yaml"),
        [
            f"schemes={json.dumps(schemes)}",
            f"storage.root={options.folder.resolve()}",
            "accuracy.tasks=[everyday_science]",
        ],
    )
    made = plan.make(experiment, MACHINE)
    store = Store(experiment.storage.root)
    random = np.random.default_rng(0)
    base = random.random(options.documents) < 0.6
    for variant in made.variants:
        _write(store, variant, base, random)
    started = time.monotonic()
    run = Run.of(made, store, Progress(), options.folder)
    judgement = compare.judge(run)
    judged = time.monotonic()
    report.write(run, judgement)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{options.variants} variants, {options.documents} documents: decision {judged - started:.1f} s, "
        f"report {time.monotonic() - judged:.1f} s, peak {peak:.2f} GiB; {judgement.sentence}"
    )


def _write(store: Store, variant: plan.VariantPlan, base: np.ndarray, random: np.random.Generator) -> None:
    """A variant's records, as far as they are judged."""
    if store.find(variant.checkpoint) is None:
        with store.writing(variant.checkpoint) as draft:
            draft.result = {"weight_bytes": 1e9}
    for step in (*variant.evaluations, *filter(None, [variant.control])):
        if store.find(step) is None:
            with store.writing(step) as draft:
                values = base ^ (random.random(len(base)) < 0.03)
                rows = (
                    {"doc_id": i, "doc_hash": f"{i:064}", "acc": float(v), "doc": "x" * 600}
                    for i, v in enumerate(values)
                )
                (draft.folder / "everyday_science.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
                figures = {"metrics": {"acc": 0.0}, "higher_is_better": {"acc": True}, "documents": len(values)}
                draft.result = {"tasks": {"everyday_science": figures}}
    for step in variant.benchmarks:
        if store.find(step) is None:
            with store.writing(step) as draft:
                speed = float(random.normal(50, 2))
                figures = {"requests": 100, "errors": 0, "seconds": 6.0, "output_tokens_per_second": speed}
                latencies = {f"{n}_{p}_ms": 500 / speed for n in ("ttft", "itl") for p in ("p50", "p95")}
                points = [{"asked": a, "unit": "streams", **figures, **latencies} for a in (1.0, 4.0)]
                draft.result = {"points": points, "company": [], "deployment": {}}


if __name__ == "__main__":
    main()
