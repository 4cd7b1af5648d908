"""Whether a run shows the gains that bare engines have: each variant of an experiment is served by `vllm serve` alone,
with the engine settings, the load and the seeds of the run, and its gains stand next to the run's.

MSF_ACCELERATOR=cuda PYTHON tests/bench/gains.py EXPERIMENT.yaml --folder FOLDER [--set KEY=VALUE ...] [--wait SECONDS]
    [--starts N] [--only VARIANT ...]

PYTHON is the driver's interpreter, which is at `python3 actors/environments.py path driver`. What was measured once
stays in FOLDER/bare.jsonl. With --starts every engine is started so often, one variant after the other, and makes all
repeats each time. With --only these variants are measured and nothing is shown, so that several GPUs can share
the work. With --wait a variant's checkpoint may still be on its way, from a run on other GPUs.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import ray
from bare_engine import MODEL, bare_engine

from actors.benchmarker import Benchmarker
from actors.placement.lease import Needs, lease
from configs.experiment import Experiment
from configs.loading import load_experiment
from flows import cluster
from flows.analysis import performance, requests
from flows.analysis.judgement import Gain, Ratio
from flows.planning import plan
from flows.planning.variant_plan import VariantPlan
from flows.runtime.outcome import Outcome
from flows.store.records import Store

COMPARED = ("output_tokens_per_second", "ttft_p50_ms", "tpot_p50_ms")


def awaited(store: Store, variant: VariantPlan, wait_s: float) -> Outcome:
    """A variant, once its checkpoint is there."""
    until = time.monotonic() + wait_s
    while (outcome := Outcome.of(variant, store)).checkpoint is None:
        if time.monotonic() > until:
            raise SystemExit(f"{variant.name}: no checkpoint; run the experiment first, or --wait for it")
        time.sleep(1)
    return outcome


def measure(
    made: plan.Plan, variant: VariantPlan, checkpoint: Path, client: Any, folder: Path
) -> tuple[float, list[performance.Sweep]]:
    """Seconds until a bare engine was up, and what its load says, repeat by repeat."""
    experiment, began = made.experiment, time.monotonic()
    with bare_engine(
        checkpoint,
        variant.engine_args,
        cores=made.slots.engines[0],
        kv_cache_gib=variant.serving.kv_cache_gib,
        compiled=experiment.storage.compiled,
        logs=folder,
        start_timeout_s=variant.serving.start_timeout_s,
    ) as url:
        seconds = time.monotonic() - began
        load = next(iter(experiment.loads.values()))
        for _ in range(2):
            sweep(load.warming, 0, url, checkpoint, client, folder)
        return seconds, [sweep(load, repeat, url, checkpoint, client, folder) for repeat in range(load.looks[0])]


def sweep(load: Any, repeat: int, url: str, checkpoint: Path, client: Any, folder: Path) -> performance.Sweep:
    """Every point of a closed loop, once."""
    destination = folder / f"requests-{time.time_ns()}"
    destination.mkdir()
    asked = client.benchmark.remote(
        url=url,
        model=MODEL,
        tokenizer=str(checkpoint),
        **load.requested,
        seed=load.seed + repeat,
        cores=[],
        destination=str(destination),
    )
    windows = ray.get(asked)
    seen = requests.read(destination, [window.seconds for window in windows], open_loop=False)
    return [
        {"asked": point_load, "unit": load.unit, **requests.figures(point, client_share=window.client_share)}
        for point_load, point, window in zip(load.points, seen, windows, strict=True)
    ]


@dataclass(frozen=True)
class Measured:
    """A variant's repeats, and the baseline's beside each of them."""

    sweeps: list[performance.Sweep]
    base: list[performance.Sweep]

    def gains(self, confidence: float) -> dict[tuple[str, int], Gain]:
        """By figure and number of clients."""
        found = performance.gains(self.sweeps, self.base, confidence)
        return {(gain.figure, round(gain.asked)): gain for gain in found}


def of_the_run(made: plan.Plan, store: Store) -> dict[str, Measured]:
    """What its records say of every variant that was loaded."""
    limits, found = made.experiment.decision.constraints, {}
    for outcome in (Outcome.of(variant, store) for variant in made.tried):
        records = [record for record in outcome.benchmarks if record]
        if records:
            sides = performance.sweeps(records, limits), performance.sweeps_of_base(records, limits)
            found[outcome.name] = Measured(*sides)
    return found


def show(bare: dict[str, Measured], run: dict[str, Measured], made: plan.Plan) -> None:
    """Every figure of the run beside the bare engine's, and every gain."""
    confidence = made.experiment.decision.confidence
    print("variant          figure                    clients  bare               run                run / bare")
    both = [(name, alone, run[name]) for name, alone in bare.items() if name in run]
    if unknown := [name for name in bare if name not in run]:
        print(f"no record of a run with this load: {', '.join(unknown)}")
    for name, alone, ours in both:
        for place, point in enumerate(alone.sweeps[0]):
            for figure in COMPARED:
                means = [_mean(found.sweeps, place, figure) for found in (alone, ours)]
                if means[0] and means[1]:
                    _row(name, figure, point["asked"], f"{means[0]:.4g}", f"{means[1]:.4g}", means[1] / means[0])
    print("\nratio to the baseline")
    for name, alone, ours in both:
        by_run = ours.gains(confidence)
        for (figure, clients), gain in alone.gains(confidence).items():
            if figure in COMPARED and name != made.baseline.name and (same := by_run.get((figure, clients))):
                told = _told(gain.ratio), _told(same.ratio)
                _row(name, figure, clients, *told, same.ratio.value / gain.ratio.value)


def _row(name: str, figure: str, clients: float, bare: str, run: str, ratio: float) -> None:
    print(f"{name:16} {figure:25} {clients:7.0f}  {bare:18} {run:18} {ratio:.3f}")


def _mean(repeats: list[performance.Sweep], place: int, figure: str) -> float | None:
    seen = [sweep[place][figure] for sweep in repeats if figure in sweep[place]]
    return sum(seen) / len(seen) if len(seen) == len(repeats) else None


def _told(ratio: Ratio) -> str:
    bounds = "" if ratio.low is None or ratio.high is None else f"[{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"{ratio.value:.3f} {bounds}"


def _kept(file: Path) -> dict[str, list[list[performance.Sweep]]]:
    """The sweeps of every variant that was measured bare before, start by start."""
    kept = defaultdict[str, list[list[performance.Sweep]]](list)
    for line in file.read_text().splitlines() if file.exists() else []:
        row = json.loads(line)
        kept[row["variant"]].append(row["sweeps"])
    return kept


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--set", action="append", metavar="KEY=VALUE")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="for each checkpoint")
    parser.add_argument("--starts", type=int, default=1, metavar="N", help="of every engine")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="measure these and show nothing")
    options = parser.parse_args()
    asked: Experiment = load_experiment(options.experiment, options.set)
    made, store = plan.make(asked, cluster.this_machine(asked)), Store.of(asked.storage)
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "bare.jsonl"
    bare = _kept(kept)
    wanted = options.only or [variant.name for variant in made.tried]
    asked_for = [variant for variant in made.tried if variant.name in wanted]
    if missing := [v for start in range(options.starts) for v in asked_for if len(bare[v.name]) <= start]:
        with cluster.connected(made.hardware.accelerator), lease(Benchmarker, Needs()) as client:
            for variant in missing:
                with awaited(store, variant, options.wait).checkpoint_on(None) as checkpoint:
                    seconds, sweeps = measure(made, variant, checkpoint, client, folder)
                print(f"{variant.name}: up in {seconds:.0f} s, measured", flush=True)
                with kept.open("a") as file:
                    file.write(json.dumps({"variant": variant.name, "start_s": seconds, "sweeps": sweeps}) + "\n")
    if options.only:
        return
    bare = _kept(kept)
    pooled = {name: [sweep for start in starts for sweep in start] for name, starts in bare.items()}
    beside = pooled[made.baseline.name]
    show({name: Measured(sweeps, beside) for name, sweeps in pooled.items()}, of_the_run(made, store), made)


if __name__ == "__main__":
    main()
