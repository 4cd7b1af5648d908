"""The whole flow on an object store, with fake engines."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from actors.placement import processes
from configs.base import REPOSITORY
from flows.cli import DONE, main
from flows.deploying import local_vllm
from flows.deploying.candidate import Candidate

pytestmark = pytest.mark.usefixtures("fake_engines", "objects")
FAKE_SERVER = REPOSITORY / "tests/fakes/openai_server.py"


def test_run_on_an_address_decides_and_redoes_nothing(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    root = f"objects://{tmp_path / 'bucket'}"
    path = experiment_file(
        storage={"root": root, "cache": str(tmp_path / "cache")}, tracking={"uri": None, "log_checkpoints": False}
    )
    assert main(["run", str(path)]) == DONE
    found = {file: file.stat().st_mtime_ns for file in (tmp_path / "bucket/records").glob("*/*/record.json")}
    assert len(found) == 13
    assert (tmp_path / "bucket/experiments/tiny/decision.json").is_file()
    assert not list((tmp_path / "bucket").rglob("writer.json"))
    assert not list((tmp_path / "cache/drafts").iterdir())
    assert main(["run", str(path)]) == DONE
    again = {file: file.stat().st_mtime_ns for file in (tmp_path / "bucket/records").glob("*/*/record.json")}
    assert again == found
    for command in ("plan", "status", "report"):
        assert main([command, str(path)]) == DONE
    capfd.readouterr()
    assert main(["clean", str(path), "--store", root]) == DONE
    assert "nothing to remove" in capfd.readouterr().out
    where = "kserve={storage_uri: 's3://bucket/{checkpoint}', image: 'vllm/vllm-openai:v1', auth: none}"
    assert main(["deploy", str(path), "--target", "kserve", "--print", "--set", where]) == DONE
    assert "s3://bucket/records/quantize/" in capfd.readouterr().out
    assert main(["deploy", str(path), "--print"]) == DONE
    assert f"# The checkpoint lies at {root}/records/quantize/" in capfd.readouterr().out


def test_deployment_from_an_address_serves_the_cached_checkpoint(
    experiment_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"objects://{tmp_path / 'bucket'}"
    path = experiment_file(
        storage={"root": root, "cache": str(tmp_path / "cache")}, tracking={"uri": None, "log_checkpoints": False}
    )
    assert main(["run", str(path)]) == DONE
    real, served = local_vllm.command, []

    def command(found: Candidate) -> list[str]:
        served.append(found.folder)
        return [sys.executable, str(FAKE_SERVER), *real(found)[4:]]

    monkeypatch.setattr(local_vllm, "command", command)
    assert main(["deploy", str(path)]) == DONE
    try:
        kept = json.loads((tmp_path / "bucket/experiments/tiny/deployment.json").read_text())
        assert kept["variant"] == "fp8-dynamic"
        assert (tmp_path / "bucket/experiments/tiny/card-fp8-dynamic.md").is_file()
        assert served[0].is_relative_to(tmp_path / "cache")
        assert (served[0] / "model.safetensors").is_file()
    finally:
        processes.end(kept["mark"], patience_s=0)
