"""Deploying to a cluster with fake engines: real actors and real Ray, an ingress and revisions that are processes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from actors import openai_client
from actors.placement import processes
from actors.serving import mark_of
from configs.base import UserError
from configs.deploying import Deploying
from configs.loading import load_experiment
from flows.cli import BAD_INPUT, DONE, FAILED, main
from flows.deploying import ray_serve, verify

FRONT = "deployed:tiny"


@pytest.fixture(name="decided")
def _decided(decided: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cluster is named; what a test deploys is ended."""
    monkeypatch.setenv("RAY_ADDRESS", "the fakes'")
    monkeypatch.setenv("MSF_ACCELERATOR", "cpu")
    yield decided
    main(["deploy", str(decided), "--target", "serve", "--delete"])


def deploy(path: Path, *arguments: str) -> int:
    return main(["deploy", str(path), "--target", "serve", *arguments])


def record(path: Path) -> dict[str, Any]:
    file = path.parent / "store/experiments/tiny/deployment.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def fault(path: Path, word: str) -> None:
    """What is started from now on has a fault."""
    (path.parent / "store/fault").write_text(word)


def answers(url: str) -> int:
    body = {"model": "tiny", "prompt": "x", "max_tokens": 8, "temperature": 0}
    tokens: int = openai_client.ask(f"{url}/v1/completions", body)["usage"]["completion_tokens"]
    return tokens


def aliases(path: Path) -> dict[str, str]:
    """The scheme behind each alias of the registered model."""
    mlflow.set_tracking_uri(f"sqlite:///{path.parent / 'store/mlflow.db'}")
    client = mlflow.MlflowClient()
    found = client.get_registered_model("tiny").aliases
    return {alias: client.get_model_version("tiny", version).tags["msf.scheme"] for alias, version in found.items()}


def test_upgrade_keeps_the_address_and_rollback_returns_to_the_variant_before(decided: Path, capfd: Any) -> None:
    assert deploy(decided, "--variant", "base") == DONE
    base = record(decided)
    assert (base["kind"], base["variant"], base["model"]) == ("serve", "base", "tiny")
    assert answers(base["url"]) == 8
    assert deploy(decided) == DONE
    upgraded = record(decided)
    assert (upgraded["variant"], upgraded["url"]) == ("fp8-dynamic", base["url"])
    assert upgraded["previous"]["application"] == base["application"]
    assert processes.of_lease(upgraded["mark"]) and not processes.of_lease(base["mark"]), "the one before is ended"
    assert aliases(decided) == {"champion": "fp8-dynamic", "previous": "none"}
    assert deploy(decided, "--rollback") == DONE
    assert record(decided)["variant"] == "base"
    assert record(decided)["previous"]["variant"] == "fp8-dynamic"
    assert aliases(decided) == {"champion": "none", "previous": "fp8-dynamic"}
    assert answers(base["url"]) == 8
    assert deploy(decided, "--delete") == DONE
    assert "no longer deployed on the cluster" in capfd.readouterr().out
    assert not record(decided)
    assert not processes.of_lease(mark_of(FRONT))
    assert aliases(decided) == {"previous": "none"}
    assert deploy(decided, "--delete") == BAD_INPUT


@pytest.mark.parametrize(("word", "reason"), [("wrong", "reference"), ("unstartable", "no kernel")])
def test_upgrade_that_fails_leaves_the_one_before_serving(word: str, reason: str, decided: Path, capfd: Any) -> None:
    assert deploy(decided, "--variant", "base") == DONE
    base = record(decided)
    fault(decided, word)
    assert deploy(decided) == FAILED
    assert reason in capfd.readouterr().out
    assert record(decided) == base
    assert answers(base["url"]) == 8
    assert processes.of_lease(base["mark"])
    assert aliases(decided) == {"champion": "none"}


def test_first_deployment_that_fails_leaves_nothing(decided: Path) -> None:
    fault(decided, "wrong")
    assert deploy(decided) == FAILED
    assert not record(decided)
    assert not processes.of_lease(mark_of(FRONT))


def test_same_deployment_twice_is_one_and_keeps_what_was_before(decided: Path) -> None:
    assert deploy(decided, "--variant", "base") == DONE
    assert deploy(decided) == DONE
    once = record(decided)
    assert deploy(decided) == DONE
    assert record(decided)["application"] == once["application"]
    assert record(decided)["previous"] == once["previous"]


def test_live_deployment_that_fails_when_looked_at_again_is_left_as_it_is(
    decided: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    assert deploy(decided) == DONE
    live = record(decided)
    monkeypatch.setattr(verify, "SLOWEST", 1e9)
    assert deploy(decided) == FAILED
    assert "not deployed: it continues to serve, as before: load: " in capfd.readouterr().out
    assert record(decided) == live
    assert answers(live["url"]) == 8


def test_previous_engines_stay_up_where_they_are_asked_to(decided: Path) -> None:
    kept = ("--set", "deploying.keep_previous=true")
    assert deploy(decided, "--variant", "base", *kept) == DONE
    base = record(decided)
    assert deploy(decided, *kept) == DONE
    assert processes.of_lease(base["mark"])


def test_what_serve_cannot_do_is_refused_in_one_line(
    decided: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    for arguments, words in (
        (["--rollback"], "no two successive deployments of tiny to serve"),
        (["--set", "deploying.replicas=2"], "would share the same pinned cores"),
        (["--print"], "has no text form"),
    ):
        capfd.readouterr()
        assert deploy(decided, *arguments) == BAD_INPUT
        assert words in capfd.readouterr().err
    assert main(["deploy", str(decided), "--delete"]) == BAD_INPUT
    assert "--rollback and --delete work only with serve" in capfd.readouterr().err
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with monkeypatch.context() as several:
        several.setattr(ray_serve, "_nodes", lambda: ["head", "worker"])
        assert deploy(decided) == BAD_INPUT
    assert "VLLM_API_KEY: missing, and on a cluster of several nodes" in capfd.readouterr().err
    monkeypatch.delenv("RAY_ADDRESS")
    assert deploy(decided) == BAD_INPUT
    assert "`ray start --head`" in capfd.readouterr().err


@pytest.mark.fast
@pytest.mark.parametrize("wrong", ["{replicas: 2, max_replicas: 2}", "{target_ongoing_requests: 4}"])
def test_scaling_that_says_nothing_is_refused(wrong: str, experiment_file: Any) -> None:
    with pytest.raises(UserError, match="max_replicas"):
        load_experiment(experiment_file(), [f"deploying={wrong}"])
    assert Deploying(replicas=1, max_replicas=3).most == 3
