"""Publishing to a fake hub by the real huggingface_hub: what is uploaded, and that nothing is without being asked."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from flows.cli import BAD_INPUT, DONE, FAILED, main

pytestmark = pytest.mark.usefixtures("fake_engines")
TOKEN = "hf_not_to_be_shown"
REPOSITORY = "a-team/tiny-fp8"


class Hub(BaseHTTPRequestHandler):
    """Takes a commit as the hub does: weights as large files, the rest inside the commit."""

    made: ClassVar[list[dict[str, Any]]] = []
    uploaded: ClassVar[dict[str, bytes]] = {}
    committed: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "no right to write"}, 403)
        elif self.path == "/api/repos/create":
            Hub.made.append(json.loads(body))
            self._answer({"url": f"{self._here}/{REPOSITORY}"})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = ["lfs" if name.endswith(".safetensors") else "regular" for name in names]
            files = [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in zip(names, modes, strict=True)]
            self._answer({"files": files})
        elif self.path.endswith("/info/lfs/objects/batch"):
            asked = json.loads(body)["objects"]
            actions = [{"upload": {"href": f"{self._here}/large/{one['oid']}"}} for one in asked]
            objects = [{**one, "actions": action} for one, action in zip(asked, actions, strict=True)]
            self._answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            Hub.committed += [json.loads(line) for line in body.splitlines()]
            self._answer({"commitUrl": f"{self._here}/{REPOSITORY}/commit/c0ffee", "commitOid": "c0ffee"})
        else:
            self._answer({"error": self.path}, 404)

    def do_PUT(self) -> None:
        Hub.uploaded[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({})

    @property
    def _here(self) -> str:
        return f"http://{self.headers['Host']}"

    def _answer(self, told: dict[str, Any], code: int = 200) -> None:
        self.send_response(code)
        body = json.dumps(told).encode()
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture(autouse=True)
def _hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Hub.made, Hub.uploaded, Hub.committed = [], {}, []
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # as a mirror has none
    yield
    server.shutdown()
    server.server_close()


def test_published_variant_is_one_commit_of_checkpoint_and_card(
    decided: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["publish", str(decided), "--repository", REPOSITORY]
    assert main(asked) == DONE
    assert "nothing was uploaded; add --yes to upload this to http://127.0.0.1:" in capfd.readouterr().out
    assert not Hub.made

    assert main([*asked, "--yes"]) == DONE
    told = capfd.readouterr()
    assert "published fp8-dynamic at http://127.0.0.1:" in told.out
    assert TOKEN not in told.out + told.err
    made = [(one["organization"], one["name"], one["visibility"]) for one in Hub.made]
    assert made == [("a-team", "tiny-fp8", "private")]
    header, *files = Hub.committed
    assert header["key"] == "header"
    large = {file["value"]["path"]: file["value"]["oid"] for file in files if file["key"] == "lfsFile"}
    small = {file["value"]["path"] for file in files if file["key"] == "file"}
    experiments = decided.parent / "store/experiments/tiny"
    record = json.loads((experiments / "published-fp8-dynamic.json").read_text())
    assert {*large, *small} == {*record["files"], "README.md"}
    assert record["commit"] == "c0ffee"
    weights = next(decided.parent.glob("store/records/quantize/*/checkpoint/model.safetensors"))
    assert Hub.uploaded[large["model.safetensors"]] == weights.read_bytes()

    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    assert main([*asked, "--yes"]) == FAILED
    assert "answered 403" in (told := capfd.readouterr().out)
    assert "check that the token may write there" in told


def test_publication_that_cannot_be_is_refused(decided: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["publish", str(decided), "--repository", REPOSITORY, "--yes"]
    assert main([*asked, "--variant", "base"]) == BAD_INPUT
    assert "--variant base: is the original model" in capfd.readouterr().err
    assert main([*asked[:2], "--repository", "tiny"]) == BAD_INPUT
    assert "--repository tiny: is not OWNER/NAME" in capfd.readouterr().err
    monkeypatch.delenv("HF_TOKEN")
    assert main(asked) == BAD_INPUT
    assert "HF_TOKEN: missing" in capfd.readouterr().err
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(asked) == BAD_INPUT
    assert "HF_HUB_OFFLINE is set" in capfd.readouterr().err
    assert not Hub.made


def test_card_of_a_publication_is_headed_for_the_hub(decided: Path) -> None:
    assert main(["publish", str(decided), "--repository", REPOSITORY, "--yes"]) == DONE
    card = next(f["value"] for f in Hub.committed[1:] if f["value"]["path"] == "README.md")
    text = base64.b64decode(card["content"]).decode()
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["tags"] == ["compressed-tensors", "vllm"]
    assert f"vllm serve {REPOSITORY} --" in body
    assert "100.0 % [" in body
