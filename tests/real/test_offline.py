"""Air-gapped: smoke on a model folder of another architecture, in a network with no way out."""

import subprocess
from pathlib import Path

import isolated
import pytest
from real_support import records, run_flow

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def offline_run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The store of the run, and the packets that left; without a network of its own the run is offline all the same."""
    store, counts = tmp_path_factory.mktemp("offline"), tmp_path_factory.mktemp("packets") / "counts"
    done: subprocess.CompletedProcess[str] = run_flow(
        "configs/experiments/smoke.yaml",
        "--set",
        f"model={{kind: path, path: {tiny_model}}}",
        store=store,
        offline=True,
        counts=counts if isolated.possible() else None,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return store, counts


def test_smoke_runs_offline_on_another_architecture_from_a_folder(offline_run: tuple[Path, Path]) -> None:
    assert records(offline_run[0])["quantize/int8-w8a8"]["result"]["weight_bytes"] > 0


@pytest.mark.skipif(not isolated.possible(), reason="needs leave to make a network namespace (unshare, ip)")
def test_smoke_offline_sends_no_packet_out(offline_run: tuple[Path, Path]) -> None:
    assert isolated.sent(offline_run[1]) == isolated.Sent(on_purpose=1, by_command=0)
