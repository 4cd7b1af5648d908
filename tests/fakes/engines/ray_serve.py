"""One HTTP server for all variants, which answers as the fake reference does, except for those called
wrong; and beside it a marked process for each variant, as an engine would have."""

import http.server
import json
import os
import subprocess
import sys
import threading
from typing import Any

from actors.artifacts import EngineSpec
from actors.engines import pace, serve_ingress
from actors.placement.processes import LEASE_MARK

_engines: dict[str, subprocess.Popen[bytes]] = {}
_server: list[http.server.ThreadingHTTPServer] = []
_keys: dict[str, str] = {}


class _Answers(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {_keys[self.path.split('/')[1]]}":
            self.send_error(401)
            return
        value = -3.0 if "wrong" in self.path else -1.0
        count = len(asked["prompt"]) + 1 if asked.get("echo") else asked["max_tokens"]
        logprobs = {
            "tokens": ["t"] * count,
            "token_logprobs": [None] + [value] * (count - 1),
            "top_logprobs": [{"t": value}] * count,
        }
        body = json.dumps({"choices": [{"text": "".join(logprobs["tokens"]), "logprobs": logprobs}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def submit(spec: EngineSpec, node: str) -> None:
    _keys[spec.model] = spec.key or ""
    if not _server:
        _server.append(http.server.ThreadingHTTPServer((spec.host or "", 0), _Answers))
        threading.Thread(target=_server[0].serve_forever, daemon=True).start()
    sleeping = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    _engines[spec.model] = subprocess.Popen(sleeping, env={**os.environ, LEASE_MARK: spec.lease})


def wait(name: str, timeout_s: float) -> str:
    """Until it is up, which takes an engine its time and makes no record."""
    pace.rest()
    if "unstartable" in name:
        raise RuntimeError(f"the server of {name} did not start: ValueError: no kernel")
    serve_ingress.check_started(name)
    return url(name)


def url(name: str) -> str:
    own = f"http://127.0.0.1:{_server[0].server_address[1]}/{name}" if _server else ""
    return serve_ingress.url(name) or own


def wrote(name: str, spans: list[tuple[float, float]]) -> list[str]:
    return [""] * len(spans)


def gpus(name: str) -> tuple[str, ...]:
    """It has none, unless its experiment is called metered."""
    return ("GPU-0",) if "metered" in name else ()


def applications() -> list[str]:
    return [*_engines, *(file.name for file in serve_ingress.folder().iterdir())]


def remove(name: str) -> None:
    """Forgets to end the engine of a variant called stray, so that the lease has to."""
    serve_ingress.remove(name)
    engine = _engines.pop(name, None)
    if engine is not None and "stray" not in name:
        engine.terminate()
        engine.wait()


def close() -> None:
    if _server:
        _server.pop().shutdown()
