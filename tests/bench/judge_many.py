"""Seconds and memory of decision and report for many variants with many documents, from made-up records.

"$(python3 actors/environments.py path driver)" tests/bench/judge_many.py --folder SCRATCH
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.extend(str(folder) for folder in Path(__file__).resolve().parents[1:3])

from tests_support import evaluations_of, write_records

from configs.hardware import Hardware
from configs.loading import load_experiment
from flows.analysis import compare
from flows.planning import plan
from flows.reporting import report
from flows.runtime.context import Run
from flows.runtime.progress import Progress
from flows.store.records import Store

MACHINE = Hardware(accelerator="cpu", name="made up", cores=2, memory_bytes=1 << 40, instructions=("avx512f",))
TASK = "everyday_science"


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
            f"accuracy.tasks=[{TASK}]",
        ],
    )
    made = plan.make(experiment, MACHINE)
    store = Store.of(experiment.storage)
    random = np.random.default_rng(0)
    base = random.random(options.documents) < 0.6
    for variant in made.variants:
        answers = [{TASK: base ^ (random.random(len(base)) < 0.03)} for _ in evaluations_of(variant)]
        sweeps, beside = ([_sweep(random) for _ in variant.benchmarks] for _ in range(2))
        write_records(store, variant, 10**9, answers, sweeps, beside)
    started = time.monotonic()
    run = Run.of(made, store, Progress(), options.folder)
    judgement = compare.judge(run.evidence)
    judged = time.monotonic()
    report.write(run, judgement)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{options.variants} variants, {options.documents} documents: decision {judged - started:.1f} s, "
        f"report {time.monotonic() - judged:.1f} s, peak {peak:.2f} GiB; {judgement.sentence}"
    )


def _sweep(random: np.random.Generator) -> list[dict[str, Any]]:
    """One repeat of the load."""
    speed = float(random.normal(50, 2))
    figures = {"requests": 100, "errors": 0, "seconds": 6.0, "output_tokens_per_second": speed}
    latencies = {f"{n}_{p}_ms": 500 / speed for n in ("ttft", "tpot") for p in ("p50", "p95")}
    return [{"asked": asked, "unit": "streams", **figures, **latencies} for asked in (1.0, 4.0)]


if __name__ == "__main__":
    main()
