"""The estimates of `flows plan` against what a finished run recorded.

"$(python3 actors/environments.py path develop)" tests/bench/estimate.py EXPERIMENT.yaml [--set key=value]

Memory: the serving and quantizing estimates against the records. Time: every step estimated from all other records
(leave one out), and their sum against the recorded one.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from configs.loading import load_experiment
from flows import experiment
from flows.planning import memory, sizes
from flows.planning.history import History
from flows.store.records import Store


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--set", action="append", metavar="KEY=VALUE")
    options = parser.parse_args()
    asked = load_experiment(options.experiment, options.set)
    plan, store = experiment.planned(asked), Store.of(asked.storage)
    model, known = sizes.model_of(plan, store), store.all()
    parameters = model.parameters if model else None
    total = {"estimated": 0.0, "recorded": 0.0}
    for variant in plan.tried:
        need = sizes.sizes(plan, variant, model, store)
        checkpoint = store.find(variant.checkpoint)
        benchmarks = [record for step in variant.benchmarks if (record := store.find(step))]
        if benchmarks and need.serve:
            _line(variant.name, "to serve, GiB", need.serve, benchmarks[0].result.deployment.memory_bytes)
        if checkpoint and variant.scheme and need.quantize and checkpoint.result.peak_host_bytes:
            _line(variant.name, "to quantize, GiB", need.quantize, checkpoint.result.peak_host_bytes)
        for step in variant.steps:
            if (record := store.find(step)) is None:
                continue
            others = [one for one in known if one.fingerprint != step.fingerprint]
            figure = History(others, plan.hardware.name, plan.hardware.accelerator, parameters).seconds(step)
            total["estimated"] += figure.seconds
            total["recorded"] += record.seconds
            note = f"({figure.assumed})" if figure.assumed else ""
            print(f"{variant.name:<14}{step.kind:<18}{figure.seconds:8.0f}{record.seconds:8.0f} s {note}")
    if total["recorded"]:
        ratio = total["estimated"] / total["recorded"]
        print(f"steps in all: estimated {total['estimated']:.0f} s, recorded {total['recorded']:.0f} s, {ratio:.2f}")


def _line(variant: str, what: str, estimated: int, recorded: int) -> None:
    gib = memory.GIB
    print(
        f"{variant:<14}{what:<18}{estimated / gib:8.2f}{recorded / gib:8.2f} {100 * (estimated / recorded - 1):+5.0f} %"
    )


if __name__ == "__main__":
    main()
