"""A sweep over two worker nodes on this machine, one of which is killed in the middle.

"$(python3 actors/environments.py path develop)" tests/faults/lost_node.py --variants 6

A head that gives out nothing, two workers of two cores each, fake engines. When the second worker has done
something, its raylet is killed, and with it all that runs there. The sweep must come to its end in the same run,
with every variant measured, and nothing measured twice but what was under way on the lost node.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))

from job import REPOSITORY, TwoNodes, experiment, two_nodes

SECOND = "127.0.0.4"
_SEATS = 2


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--variants", type=int, default=6, help="compressed ones")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long every engine call takes")
    parser.add_argument("--after", type=int, default=8, help="records that are there when the node is killed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, calls = Path(scratch), Path(scratch) / "calls"
        file = experiment(folder)
        asked = yaml.safe_load(file.read_text())
        asked["schemes"] = [
            {
                "kind": "int8-w8a8",
                "algorithm": "rtn",
                "smoothquant": None,
                "name": f"v{place}",
                "ignore": [f"layer{place}"],
            }
            for place in range(options.variants)
        ]
        file.write_text(yaml.safe_dump(asked))
        variables = {"MSF_FAKE_SECONDS": str(options.seconds), "MSF_FAKE_CALLS": str(calls)}
        with two_nodes(2, **variables) as cluster:
            cluster.join(SECOND)
            found = lost(cluster, file, folder / "store", options.after)
        found["steps redone"] = len(calls.read_text().splitlines()) - found["records"]
    for name, value in found.items():
        print(f"{name:<14} {value}")
    whole = found["exit code"] == 0 and found["measured"] == 1 + options.variants
    return int(not whole or found["steps redone"] > _SEATS)


def lost(cluster: TwoNodes, file: Path, store: Path, after: int) -> dict[str, Any]:
    """What comes of a run whose second worker is killed when so many records are there."""
    command = [sys.executable, str(REPOSITORY / "tests/faults/slow_fakes.py"), "run", str(file)]
    environment = {**cluster.environment, "RAY_ADDRESS": cluster.address}
    output = store.parent / "out"
    with output.open("w") as out:
        run = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=out, stderr=out)
        while run.poll() is None and len(records(store)) < after:
            time.sleep(0.2)
        at = len(records(store))
        kill_node(cluster)
        code = run.wait(500)
    decision = store / "experiments/job/decision.json"
    if code:
        print(output.read_text()[-6000:])
    return {
        "exit code": code,
        "killed at": f"{at} records",
        "records": len(records(store)),
        "measured": len(json.loads(decision.read_text())["judged"]) if decision.is_file() else 0,
        "said": [line for line in output.read_text().splitlines() if "attempt" in line or "FAILED" in line],
    }


def kill_node(cluster: TwoNodes) -> None:
    """The second worker's raylet, and whatever runs under it, as when a machine is lost."""
    for process in cluster.processes():
        with contextlib.suppress(psutil.Error):
            words = " ".join(process.cmdline())
            if "raylet/raylet" in words and f"--node_ip_address={SECOND}" in words:
                for child in [process, *process.children(recursive=True)]:
                    child.kill()


def records(store: Path) -> list[Path]:
    return list(store.glob("records/*/*/record.json"))


if __name__ == "__main__":
    sys.exit(main())
