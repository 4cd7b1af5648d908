"""The flow as a Ray job, on a cluster of two nodes with token authentication and fake engines."""

import os
import sys
from pathlib import Path

from faults.job import stopped_and_resumed, two_nodes


def test_job_that_is_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with two_nodes(cores=2, PATH=path, MSF_FAKE_SECONDS="1") as cluster:
        found = stopped_and_resumed(cluster, tmp_path)
        assert found["without a token"], "nobody may submit who has no token"
        assert found["stopped"]
        assert found["kept"], "it was stopped after its first record"
        assert (found["resumed"], found["redone"]) == (0, 0), found["logs"]
        assert found["decision"]
        for what in ("versions", "environments", "store"):
            assert found["doctor"].count(what) >= 2, "both nodes were asked"
    assert not cluster.processes()
