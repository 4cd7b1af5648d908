"""Deploying with a fake `vllm serve`: a real process, the real Benchmarker, real MLflow."""

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml

from actors import openai_client
from actors.placement import processes
from configs.base import REPOSITORY, UserError
from configs.loading import load_experiment
from flows.cli import BAD_INPUT, DONE, FAILED, _state, main
from flows.deploying import candidate, local_vllm

pytestmark = pytest.mark.usefixtures("fake_engines")
FAKE_SERVER = REPOSITORY / "tests/fakes/openai_server.py"


@pytest.fixture
def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`vllm serve` is the fake server, with a fault."""
    real = local_vllm.command

    def use(fault: str = "sound") -> None:
        monkeypatch.setattr(
            local_vllm,
            "command",
            lambda found: [sys.executable, str(FAKE_SERVER), *real(found)[4:], fault],
        )

    use()
    return use


@pytest.fixture(name="decided")
def _decided(decided: Path) -> Iterator[Path]:
    """What a test deploys is ended after it."""
    yield decided
    if (file := written(decided, "deployment.json")).is_file():
        processes.end(json.loads(file.read_text())["mark"], patience_s=0)


def written(path: Path, name: str) -> Path:
    return path.parent / "store/experiments/tiny" / name


def served_here(path: Path) -> list[int]:
    found = candidate.choose(_state(load_experiment(path)), None)
    mark = local_vllm.mark_of(f"deployment of {found.model} at {local_vllm.address(found)}")
    return processes.of_lease(mark)


def test_deploy_serves_the_recommended_variant_and_leaves_it_running(decided: Path, fake_vllm: Any, capfd: Any) -> None:
    assert main(["deploy", str(decided)]) == DONE
    deployed = json.loads(written(decided, "deployment.json").read_text())
    said = capfd.readouterr().out
    assert f"kill {deployed['process']}" in said
    assert (deployed["variant"], deployed["model"]) == ("fp8-dynamic", "tiny-fp8-dynamic")
    assert urllib.request.urlopen(f"{deployed['url']}/health").status == 200
    verification = json.loads(written(decided, "verification-fp8-dynamic.json").read_text())
    assert verification["passed"]
    assert {check["name"] for check in verification["checks"] if check["passed"] is None} == {"chat", "key"}
    card = written(decided, "card-fp8-dynamic.md").read_text()
    assert "--served-model-name tiny-fp8-dynamic" in card
    assert "100.0 % [" in card
    assert main(["deploy", str(decided)]) == BAD_INPUT, "its port is taken"
    assert main(["verify", deployed["url"], "--experiment", str(decided)]) == DONE
    assert main(["verify", deployed["url"] + "/v1/", "--experiment", str(decided)]) == DONE


def test_deploy_registers_champion_and_previous_in_mlflow(decided: Path, fake_vllm: Any) -> None:
    assert main(["deploy", str(decided), "--variant", "base"]) == DONE
    processes.end(json.loads(written(decided, "deployment.json").read_text())["mark"], patience_s=0)
    assert main(["deploy", str(decided)]) == DONE
    mlflow.set_tracking_uri(f"sqlite:///{decided.parent / 'store/mlflow.db'}")
    client = mlflow.MlflowClient()
    champion = client.get_model_version_by_alias("tiny", "champion")
    assert champion.tags["msf.scheme"] == "fp8-dynamic"
    assert champion.tags["msf.verdict"] == "pass"
    assert champion.tags["msf.recovery.everyday_science"].startswith("1.0000 [")
    assert client.get_model_version_by_alias("tiny", "previous").tags["msf.scheme"] == "none"
    folder = Path(mlflow.artifacts.download_artifacts("models:/tiny@champion"))
    kept = next((decided.parent / "store/records/quantize").glob("*/checkpoint/model.safetensors"))
    assert os.path.samefile(folder / "model.safetensors", kept), "written once"
    parent = client.get_run(json.loads(written(decided, "mlflow.json").read_text())["run_id"])
    assert parent.data.tags["msf.verified"] == "fp8-dynamic: pass"
    assert parent.data.metrics["verification.output_tokens_per_second"] > 0


@pytest.mark.parametrize(("fault", "words"), [("wrong", "reference"), ("unstartable", "no kernel")])
def test_deployment_that_is_wrong_is_ended_and_leaves_nothing(
    fault: str, words: str, decided: Path, fake_vllm: Any, capfd: Any
) -> None:
    fake_vllm(fault)
    assert main(["deploy", str(decided)]) == FAILED
    assert words in capfd.readouterr().out
    assert not served_here(decided)
    assert not written(decided, "deployment.json").exists()


def test_deployment_that_is_never_healthy_is_ended(decided: Path, fake_vllm: Any, capfd: Any) -> None:
    fake_vllm("unhealthy")
    assert main(["deploy", str(decided), "--set", "serving.start_timeout_s=1"]) == FAILED
    assert "not healthy within 1 s" in capfd.readouterr().out
    assert not served_here(decided)


def test_print_gives_the_engine_that_was_benchmarked_and_starts_nothing(decided: Path, capfd: Any) -> None:
    assert main(["deploy", str(decided), "--print"]) == DONE
    said = capfd.readouterr().out
    for part in ("--no-trust-remote-code", "--load-format=safetensors", "--enforce-eager", "--host 127.0.0.1"):
        assert said.count(part) >= 2, part
    assert said.count("VLLM_CPU_OMP_THREADS_BIND=0") == 3, "command, unit and container"
    assert not served_here(decided)


def test_manifests_for_kserve_are_printed_and_nothing_is_applied(decided: Path, capfd: Any) -> None:
    where = "kserve={storage_uri: 'pvc://models/{checkpoint}', image: 'vllm/vllm-openai:v1', auth: none}"
    assert main(["deploy", str(decided), "--target", "kserve", "--print", "--set", where]) == DONE
    runtime, service = yaml.safe_load_all(capfd.readouterr().out)
    assert "--load-format=safetensors" in runtime["spec"]["containers"][0]["args"]
    found = candidate.choose(_state(load_experiment(decided)), None)
    assert service["spec"]["predictor"]["model"]["storageUri"] == (f"pvc://models/{found.path_in_store}")
    assert main(["deploy", str(decided), "--target", "kserve"]) == BAD_INPUT
    assert "add --apply, or --print" in capfd.readouterr().err
    assert main(["deploy", str(decided), "--target", "kserve", "--print"]) == BAD_INPUT
    assert "kserve: missing in the experiment" in capfd.readouterr().err


def test_what_cannot_be_deployed_is_refused_in_one_line(experiment_file: Any, capfd: Any) -> None:
    path = experiment_file()
    assert main(["deploy", str(path)]) == BAD_INPUT
    assert "no decision yet; start `python -m flows run`" in capfd.readouterr().err
    assert main(["run", str(path)]) == DONE
    weights = next((path.parent / "store/records/quantize").glob("*/checkpoint/model.safetensors"))
    sound = weights.read_bytes()
    for arguments, words in (
        (["--variant", "other"], "its variants: base, fp8-dynamic"),
        (["--set", "serving.max_num_seqs=3"], "differ from the experiment's current ones"),
    ):
        capfd.readouterr()
        assert main(["deploy", str(path), *arguments]) == BAD_INPUT
        assert words in capfd.readouterr().err
    weights.chmod(0o644)  # a finished checkpoint is read-only, MLflow has it too
    weights.write_bytes(sound[:-1] + b"\1")
    assert main(["deploy", str(path)]) == BAD_INPUT
    assert "differs from its record (sha256)" in capfd.readouterr().err
    weights.write_bytes(sound)
    (path.parent / "store/experiments/tiny/decision.json").write_text("{}")
    assert main(["deploy", str(path)]) == BAD_INPUT
    assert "flows report" in capfd.readouterr().err


def test_nothing_recommended_is_refused_with_the_reason(experiment_file: Any) -> None:
    path = experiment_file(decision={"objective": "size", "constraints": {"max_ttft_p95_ms": 1}})
    assert main(["run", str(path)]) == DONE
    with pytest.raises(UserError, match=r"nothing is recommended: .*--variant"):
        candidate.choose(_state(load_experiment(path)), None)
    assert candidate.choose(_state(load_experiment(path)), "fp8-dynamic").variant == "fp8-dynamic"


def test_engine_sees_no_interpreter_settings_of_the_driver(decided: Path, fake_vllm: Any) -> None:
    assert main(["deploy", str(decided)]) == DONE
    process = json.loads(written(decided, "deployment.json").read_text())["process"]
    names = {line.split(b"=")[0] for line in Path(f"/proc/{process}/environ").read_bytes().split(b"\0")}
    assert b"VLLM_CPU_KVCACHE_SPACE" in names
    assert not {name for name in names if name.startswith((b"PYTHON", b"VLLM_API_KEY"))}
    assert os.getsid(process) == process, "a Ctrl-C in the terminal is none for it"


def test_key_is_asked_for_by_what_is_deployed_and_stands_nowhere(
    decided: Path, fake_vllm: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sesame")
    assert main(["deploy", str(decided)]) == DONE
    deployed = json.loads(written(decided, "deployment.json").read_text())
    assert openai_client.get(f"{deployed['url']}/metrics")[0] == 401
    command = Path(f"/proc/{deployed['process']}/cmdline").read_bytes()
    assert b"--middleware" in command
    assert main(["deploy", str(decided), "--print"]) == DONE
    told = capfd.readouterr()
    assert "-e VLLM_API_KEY -e PYTHONPATH=/guard" in told.out
    assert "EnvironmentFile=/etc/tiny-fp8-dynamic.env" in told.out
    kept = [file.read_bytes() for file in decided.parent.rglob("*") if file.is_file()]
    assert not [one for one in [*kept, command, told.out.encode(), told.err.encode()] if b"sesame" in one]
