"""The command line on fake engines that take their time, on a made-up machine with a cluster of its own, or on
the cluster that RAY_ADDRESS names.

MSF_FAKE_SECONDS says how long every engine call takes. Used by what kills and by what measures overhead.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from configs.base import REPOSITORY
from configs.hardware import Hardware
from flows import cluster
from flows.cli import main

MACHINE = Hardware(
    accelerator="cpu", name="made up", cores=2, memory_bytes=64 << 30, instructions=("avx512f", "avx512_vnni")
)

if __name__ == "__main__":
    cluster.PYTHONPATH = f"{REPOSITORY / 'tests/fakes'}:{REPOSITORY}"
    if not cluster.is_named():
        cluster.this_machine = lambda _experiment: MACHINE
    sys.exit(main())
