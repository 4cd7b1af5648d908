"""The address of a fake deployment: answers as the revision that is live, or that a path names, by the files that
`engines/serve_ingress.py` keeps. Arguments: their folder, the ingress's name, its route, the model, the port."""

import json
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

from openai_server import Answers

FOLDER, FRONT, ROUTE, MODEL, PORT = sys.argv[1:]


class Ingress(Answers):
    model = MODEL

    def _turn(self) -> bool:
        """Whether there is a revision to answer for; it becomes this server's."""
        revision, _, rest = self.path.removeprefix(f"{ROUTE}/").partition("/")
        if revision in ("v1", "health"):
            rest = self.path.removeprefix(f"{ROUTE}/")
            revision = json.loads((Path(FOLDER) / FRONT).read_text())["live"]
        file = Path(FOLDER) / f"{FRONT}:{revision}"
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


threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", int(PORT)), Ingress).serve_forever).start()
