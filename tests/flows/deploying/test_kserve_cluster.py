"""Applying to a Kubernetes cluster by a fake kubectl: verified through its port, restored where that fails."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from configs.base import REPOSITORY
from flows.cli import BAD_INPUT, DONE, FAILED, main

FAKE = REPOSITORY / "tests/fakes/kubectl.py"
WHERE = "kserve={storage_uri: 'pvc://models/{checkpoint}', image: 'vllm/vllm-openai:v1', auth: %s, namespace: team}"


@pytest.fixture(name="cluster")
def _cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is a cluster, and a kubectl that knows it."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    monkeypatch.setenv("FAKE_CLUSTER", str(folder))
    client = tmp_path / "bin/kubectl"
    client.parent.mkdir()
    client.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(FAKE)])} "$@"\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{client.parent}:/usr/bin:/bin")
    return folder


def deploy(path: Path, *arguments: str, auth: str = "none") -> int:
    return main(["deploy", str(path), "--target", "kserve", "--set", WHERE % auth, *arguments])


def resources(cluster: Path) -> set[str]:
    return {file.name for file in cluster.glob("*.json")}


OURS = {"inferenceservice-tiny-fp8-dynamic.json", "servingruntime-tiny-fp8-dynamic.json"}


def test_applied_service_is_verified_through_its_pod_and_stays(decided: Path, cluster: Path, capfd: Any) -> None:
    assert deploy(decided, "--apply") == DONE
    assert resources(cluster) == OURS
    asked = (cluster / "asked").read_text().splitlines()
    assert all(line.startswith("team ") for line in asked)
    assert [line.split()[1] for line in asked] == ["get", "get", "apply", "wait", "port-forward", "get"]
    record = json.loads((decided.parent / "store/experiments/tiny/deployment.json").read_text())
    assert (record["kind"], record["url"], record["model"]) == ("kserve", "http://tiny.example", "tiny-fp8-dynamic")
    assert "deployed  fp8-dynamic at http://tiny.example/v1" in capfd.readouterr().out


@pytest.mark.parametrize(("fault", "words"), [("unready", "no node has a GPU left"), ("wrong", "served wrongly")])
def test_service_that_fails_is_gone_or_what_it_was(
    fault: str, words: str, decided: Path, cluster: Path, capfd: Any
) -> None:
    (cluster / "fault").write_text(fault)
    assert deploy(decided, "--apply") == FAILED
    assert words in capfd.readouterr().out
    assert not resources(cluster)

    (cluster / "fault").unlink()
    assert deploy(decided, "--apply") == DONE
    sound = {name: (cluster / name).read_text() for name in OURS}
    (cluster / "fault").write_text("wrong")
    assert deploy(decided, "--apply", "--set", "kserve.replicas=2") == FAILED
    assert {name: (cluster / name).read_text() for name in OURS} == sound


def test_service_with_a_key_is_verified_with_it_and_the_key_is_in_no_record(
    decided: Path, cluster: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    monkeypatch.setenv("FAKE_KEY", "sesame-1")
    keyed = ["--apply", "--set", "kserve.secret=the-key"]
    assert deploy(decided, *keyed, auth="api-key, secret: the-key") == BAD_INPUT
    assert "VLLM_API_KEY: missing" in capfd.readouterr().err
    monkeypatch.setenv("VLLM_API_KEY", "sesame-2")
    assert deploy(decided, *keyed, auth="api-key, secret: the-key") == FAILED
    assert "401" in capfd.readouterr().out
    monkeypatch.setenv("VLLM_API_KEY", "sesame-1")
    assert deploy(decided, *keyed, auth="api-key, secret: the-key") == DONE
    written = [file for file in decided.parent.rglob("*") if file.is_file()]
    assert not [file for file in written if b"sesame" in file.read_bytes()]
    told = capfd.readouterr()
    assert "sesame" not in told.out + told.err


def test_nothing_is_applied_unless_it_is_asked_for_and_can_be(
    decided: Path, cluster: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deploy(decided) == BAD_INPUT
    assert "add --apply, or --print" in capfd.readouterr().err
    assert main(["deploy", str(decided), "--apply"]) == BAD_INPUT
    assert "--target vllm deploys without it" in capfd.readouterr().err
    theirs = cluster / "inferenceservice-tiny-fp8-dynamic.json"
    theirs.write_text(json.dumps({"metadata": {}}))
    assert deploy(decided, "--apply") == BAD_INPUT
    assert "was not made by `apply`" in capfd.readouterr().err
    assert json.loads(theirs.read_text()) == {"metadata": {}}
    monkeypatch.setenv("PATH", "/nowhere")
    assert deploy(decided, "--apply") == BAD_INPUT
    assert "neither kubectl nor oc" in capfd.readouterr().err
