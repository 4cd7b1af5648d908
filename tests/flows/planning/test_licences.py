"""What a model's card says of its licence: of a folder, of the hub, in a plan."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties.briefly import BRIEFLY
from tests_support import free_port, write_model

from configs.model import HubModel, PathModel, WheelModel
from flows.cli import DONE, main
from flows.planning import hub_models, licences

OTHER = "license: other\nlicense_name: llama3.1\nlicense_link: LICENSE"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Tells of models by the name of their owner."""

    asked: ClassVar[list[str]] = []
    cards: ClassVar[dict[str, Any]] = {
        "mit": {"cardData": {"license": "mit"}},
        "several": {"cardData": {"license": ["mit", "apache-2.0"]}},
        "silent": {"cardData": {"language": "en"}},
        "cardless": {"id": "x"},
        "odd": {"cardData": {"license": {"is": 7}}},
        "listed": ["no", "mapping"],
    }

    def do_GET(self) -> None:
        Hub.asked.append(self.path)
        told = self.cards.get(self.path.split("/")[3])
        self.send_response(404 if told is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(told).encode())

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture(name="hub")
def _hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    Hub.asked = []
    hub_models.told.cache_clear()
    yield Hub.asked
    hub_models.told.cache_clear()
    server.shutdown()
    server.server_close()


def words(model: HubModel | PathModel, commit: str | None = None) -> str:
    licence = licences.of(model, commit)
    assert licence is not None
    return licence.words


def on_hub(owner: str) -> HubModel:
    return HubModel(kind="hub", repository=f"{owner}/model")


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("---\nlicense: apache-2.0\n---\n# A model\n", "apache-2.0"),
        (f"---\n{OTHER}\n---\n", "other (llama3.1, LICENSE)"),
        ("---\nlanguage: en\n---\nlicense: mit\n", "not stated"),
        ("# A model\nlicense: mit\n", "not stated"),
        ("---\nlicense: mit\n", "not stated"),
        ("---\n- license\n---\n", "not stated"),
        ("---\nlicense: [unclosed\n---\n", "not stated"),
        ("", "not stated"),
        ('---\nlicense: "mit\\n\\e[31m[red]<b>"\n---\n', "mit 31mredb"),
        (None, "not stated"),
    ],
)
def test_licence_of_a_folder_is_that_of_its_card(card: str | None, said: str, tmp_path: Path) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert words(PathModel(kind="path", path=tmp_path)) == said


@BRIEFLY
@given(card=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"---\nlicense: {text}\n---\n".encode()))
def test_whatever_a_card_is_one_short_line_comes_of_it(tmp_path_factory: Any, card: bytes) -> None:
    folder = tmp_path_factory.mktemp("model")
    (folder / "README.md").write_bytes(card)
    said = words(PathModel(kind="path", path=folder))
    assert 0 < len(said) <= 200
    assert said.isprintable()


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("owner", "said"),
    [
        ("mit", "mit"),
        ("several", "mit, apache-2.0"),
        ("silent", "not stated"),
        ("cardless", "not stated"),
        ("odd", "not stated"),
        ("listed", "not known: the hub was not asked, or did not say"),
        ("nobody", "not known: the hub was not asked, or did not say"),
    ],
)
def test_licence_of_a_hub_s_model_is_that_of_its_card(owner: str, said: str) -> None:
    assert words(on_hub(owner)) == said


def test_hub_is_asked_about_the_commit_that_was_used(hub: list[str]) -> None:
    assert words(on_hub("mit"), COMMIT) == "mit"
    assert hub == [f"/api/models/mit/model/revision/{COMMIT}?blobs=true"]


def test_cached_card_needs_nobody(hub: list[str], tmp_path: Path) -> None:
    folder = write_model(tmp_path / "hf/hub/models--nobody--model/snapshots/main")
    (folder / "README.md").write_text("---\nlicense: gemma\n---\n")
    assert (words(on_hub("nobody")), hub) == ("gemma", [])


def test_offline_the_hub_is_not_asked(hub: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert words(on_hub("mit")).startswith("not known")
    assert hub == []


def test_hub_out_of_reach_leaves_the_licence_unknown(hub: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    assert words(on_hub("mit")).startswith("not known")


def test_wheel_has_no_card() -> None:
    assert licences.of(WheelModel(kind="wheel", package="model==1")) is None


@pytest.mark.usefixtures("hub", "hardware", "built")
def test_plan_tells_the_licence_of_the_base_and_of_a_variant_s_checkpoint(
    experiment_file: Any, tmp_path: Path, capfd: Any
) -> None:
    folder = write_model(tmp_path / "theirs")
    variants = [{"name": "theirs", "checkpoint": {"kind": "path", "path": str(folder)}, "another_model": True}]
    base = {"kind": "hub", "repository": "mit/model"}
    assert main(["plan", str(experiment_file(model=base, variants=variants))]) == DONE
    said = capfd.readouterr().out
    assert "licence of mit/model: mit" in said
    assert "licence of theirs: not stated" in said
