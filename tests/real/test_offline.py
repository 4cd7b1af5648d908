"""Air-gapped: smoke on a model folder of another architecture, in a network with no way out."""

import json
import subprocess
from pathlib import Path

import isolated
import pytest
from real_support import records, run_flow, told_by

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


COMMIT = "0123456789abcdef0123456789abcdef01234567"
CACHED = """
import datasets, json
from actors.engines import hub_datasets
from pathlib import Path

folder = Path(datasets.config.HF_DATASETS_CACHE) / "an___open-set/default/0.0.0" / {commit!r}
made = datasets.Dataset.from_dict({{"text": ["a", "", "b"]}})
splits = {{"train": {{"name": "train", "num_bytes": 9, "num_examples": 3, "dataset_name": "open-set"}}}}
told = {{"features": made.features.to_dict(), "splits": splits, "dataset_name": "open-set", "config_name": "default"}}
folder.mkdir(parents=True)
(folder / "dataset_info.json").write_text(json.dumps(told | {{"builder_name": "parquet"}}))
with datasets.arrow_writer.ArrowWriter(features=made.features, path=str(folder / "open-set-train.arrow")) as writer:
    writer.write_batch(made.to_dict())
    writer.finalize()
print(json.dumps(hub_datasets.column("an/open-set", None, "train", "text", "main")))
"""


@pytest.mark.parametrize("role", ["quantize", "inference"])
def test_data_set_of_the_cache_is_told_by_its_commit(role: str, tmp_path: Path) -> None:
    code = CACHED.format(commit=COMMIT)
    told = told_by(role, code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path), HF_DATASETS_CACHE=str(tmp_path / "cache"))
    assert json.loads(told.splitlines()[-1]) == [["a", "b"], COMMIT]
