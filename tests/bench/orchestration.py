"""What the flow itself costs: a run on engines that only sleep, over the longest chain of sleeps.

"$(python3 actors/environments.py path develop)" tests/bench/orchestration.py --seconds 30 --variants 3

The bound is what nobody could beat: all the sleeping, with the two seats of the made-up machine never
empty and measuring alone on its host. Then the same run again: nothing is left to do.
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

REPEATS = 2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--variants", type=int, default=3, help="compressed ones, beside the base")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        flow = Flow(Path(scratch) / "run", options.seconds)
        asked = yaml.safe_load(flow.file.read_text())
        asked["schemes"] = [
            {"kind": "fp8-dynamic", "name": f"v{i}", "ignore": [f"layer{i}"]} for i in range(options.variants)
        ]
        asked["load"]["repeats"] = REPEATS
        flow.file.write_text(yaml.safe_dump(asked))
        took = flow.finish()
        calls = flow.begun
        started = time.monotonic()
        subprocess.run(flow.command, env=flow.environment, check=True, stdout=subprocess.DEVNULL)
        again = time.monotonic() - started
    bound = options.seconds * shortest(options.variants)
    print(
        f"{options.variants} variants, steps of {options.seconds:g} s: {took:.1f} s for {calls} steps, bound "
        f"{bound:.1f} s, ratio {took / bound:.3f}; again {again:.1f} s"
    )


def shortest(variants: int) -> float:
    """The bound in steps: the base checkpoint; quantizing and evaluating on two seats; every repeat alone."""
    working = variants * 2 + 2
    return 1 + working / 2 + (1 + variants) * REPEATS


if __name__ == "__main__":
    main()
