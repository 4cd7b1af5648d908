"""What the flow itself costs: a run on engines that only sleep, over the longest chain of sleeps.

"$(python3 actors/environments.py path develop)" tests/bench/orchestration.py --seconds 30 --variants 11

The chain is what `flows.planning.simulation` makes of the same sleeps, where nothing but sleeping takes time: two
slots on one host, which is at work or being measured. How near that is to what nobody could beat, `scale.py` tells.
Then the same run again: nothing to do.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))

from flow_on_fakes import Flow
from slow_fakes import MACHINE

from configs.loading import load_experiment
from flows.planning import plan
from flows.planning.simulation import Stay, Way, play

REPEATS = 2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--variants", type=int, default=11, help="compressed ones, beside the base")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        flow = Flow(Path(scratch) / "run", options.seconds)
        asked = yaml.safe_load(flow.file.read_text())
        asked["schemes"] = [
            {"kind": "fp8-dynamic", "name": f"v{i}", "ignore": [f"layer{i}"]} for i in range(options.variants)
        ]
        asked["load"]["repeats"] = REPEATS
        flow.file.write_text(yaml.safe_dump(asked))
        chain = longest_chain(flow.file, options)
        took = flow.finish(within_s=300 + 2 * chain)
        calls = flow.begun
        started = time.monotonic()
        subprocess.run(flow.command, env=flow.environment, check=True, stdout=subprocess.DEVNULL)
        again = time.monotonic() - started
    print(
        f"{options.variants} variants, steps of {options.seconds:g} s: {took:.1f} s for {calls} steps, longest chain "
        f"{chain:.1f} s, ratio {took / chain:.3f}; again {again:.1f} s"
    )


def longest_chain(file: Path, options: argparse.Namespace) -> float:
    """Seconds: the base checkpoint; then every variant quantized, started and evaluated (the base twice), and started
    once more, with the base beside it, to be benchmarked in turn with it."""
    slots = plan.make(load_experiment(file), MACHINE).slots
    repeats = range(REPEATS)
    block = Stay(options.seconds, (tuple(repeats),), dict.fromkeys(repeats, 2 * options.seconds), sizes=(1, 1))
    base = Way("base", (Stay(3 * options.seconds), block))
    stays = (Stay(options.seconds), Stay(2 * options.seconds), block)
    compressed = [Way(str(place), stays) for place in range(options.variants)]
    played = play([base, *compressed], slots, hosts=1, room=len(slots.engines) + 1)
    return float(options.seconds + played.seconds)


if __name__ == "__main__":
    main()
