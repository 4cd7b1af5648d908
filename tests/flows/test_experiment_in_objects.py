"""The whole flow on an object store, with fake engines."""

from pathlib import Path
from typing import Any

import pytest

from flows.__main__ import DONE, main

pytestmark = pytest.mark.usefixtures("fake_engines", "objects")


def test_run_on_an_address_decides_and_redoes_nothing(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    root = f"objects://{tmp_path / 'bucket'}"
    path = experiment_file(
        storage={"root": root, "cache": str(tmp_path / "cache")}, tracking={"uri": None, "log_checkpoints": False}
    )
    assert main(["run", str(path)]) == DONE
    found = {file: file.stat().st_mtime_ns for file in (tmp_path / "bucket/records").glob("*/*/record.json")}
    assert len(found) == 11
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
