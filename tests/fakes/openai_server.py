"""What `vllm serve` would answer on a fake checkpoint, with faults by name: unhealthy, wrong, cut, nameless, and open,
which asks for its key only where vLLM's own middleware does.

As a script it takes vLLM's options, of which it reads the name, the port and, as its last word, a fault.
"""

import http.server
import json
import os
import sys
import threading
from typing import Any

TEXT = "12345678"


class Answers(http.server.BaseHTTPRequestHandler):
    """One served model; `model`, `fault` and the `key` that is asked for are set on a subclass."""

    model = ""
    fault = ""
    key = ""

    def log_message(self, *_: Any) -> None:
        pass

    def _refuses(self) -> bool:
        """Whether a request has no key where one is asked for; it is answered then."""
        known = not self.key or self.headers["Authorization"] == f"Bearer {self.key}"
        if known or (self.fault == "open" and not self.path.startswith("/v1")):
            return False
        self._answer(b"{}", status=401)
        return True

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(b"", status=503 if self.fault == "unhealthy" else 200)
        elif self._refuses():
            pass
        else:
            name = [self.model] if self.fault != "nameless" else ["one", "another"]
            self._answer(json.dumps({"data": [{"id": one} for one in name]}).encode())

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._refuses():
            pass
        elif asked.get("model") != self.model:
            self._answer(b"{}", status=404)
        elif "messages" in asked:
            self._answer(json.dumps({"choices": [{"message": {"content": "Paris."}}]}).encode())
        elif asked.get("stream"):
            events = [json.dumps({"choices": [{"text": letter}]}) for letter in TEXT]
            ended = [] if self.fault == "cut" else ["[DONE]"]
            self._answer("".join(f"data: {event}\n\n" for event in events + ended).encode())
        elif "logprobs" in asked:
            logprobs = self._logprobs(asked)
            text = "".join(logprobs["tokens"])
            self._answer(json.dumps({"choices": [{"text": text, "logprobs": logprobs}]}).encode())
        else:
            self._answer(json.dumps({"choices": [{"text": TEXT}], "usage": {"completion_tokens": len(TEXT)}}).encode())

    def _logprobs(self, asked: dict[str, Any]) -> dict[str, Any]:
        value = -3.0 if self.fault == "wrong" else -1.0
        token = "u" if self.fault == "others" else "t"
        count = len(asked["prompt"]) + 1 if asked["echo"] else asked["max_tokens"]
        return {
            "tokens": [token] * count,
            "token_logprobs": [None] + [value] * (count - 1),
            "top_logprobs": [{token: value}] * count,
        }

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(model: str, port: int, fault: str = "", key: str = "") -> http.server.ThreadingHTTPServer:
    """A server that is up, until its `shutdown`."""
    answers = type("Answers", (Answers,), {"model": model, "fault": fault, "key": key})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    if sys.argv[-1] == "unstartable":
        sys.exit("ValueError: no kernel")
    options = dict(zip(sys.argv[2:], sys.argv[3:], strict=False))
    serve(options["--served-model-name"], int(options["--port"]), sys.argv[-1], os.environ.get("VLLM_API_KEY", ""))
    threading.Event().wait()
