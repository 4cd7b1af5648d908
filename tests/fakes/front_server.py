"""The address of a fake deployment: answers as the generation that is live, or that a path names, by the files that
`engines/serve_ingress.py` keeps. Arguments: their folder, the front's name, its route, the model, the port."""

import json
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

from openai_server import Answers

FOLDER, FRONT, ROUTE, MODEL, PORT = sys.argv[1:]


class Front(Answers):
    model = MODEL

    def _turn(self) -> bool:
        """Whether there is a generation to answer for; it becomes this server's."""
        generation, _, rest = self.path.removeprefix(f"{ROUTE}/").partition("/")
        if generation in ("v1", "health"):
            rest = self.path.removeprefix(f"{ROUTE}/")
            generation = json.loads((Path(FOLDER) / FRONT).read_text())["live"]
        file = Path(FOLDER) / f"{FRONT}:{generation}"
        if not file.is_file():
            self._answer(b"{}", status=503)
            return False
        self.path, self.fault = f"/{rest}", json.loads(file.read_text())["fault"]
        return True

    def do_GET(self) -> None:
        if self._turn():
            super().do_GET()

    def do_POST(self) -> None:
        if self._turn():
            super().do_POST()


threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", int(PORT)), Front).serve_forever).start()
