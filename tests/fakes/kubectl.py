"""What kubectl would do on a cluster with KServe, whose resources are files in the folder FAKE_CLUSTER.

A file `fault` there makes what is applied from then on `unready`, or serve what has one of openai_server's faults.
"""

import json
import os
import sys
import threading
from pathlib import Path

import openai_server
import yaml

CLUSTER = Path(os.environ["FAKE_CLUSTER"])
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def fault() -> str:
    file = CLUSTER / "fault"
    return file.read_text() if file.is_file() else ""


def place(kind: str, name: str) -> Path:
    return CLUSTER / f"{kind.lower()}-{name}.json"


def apply() -> None:
    for manifest in yaml.safe_load_all(sys.stdin.read()):
        kept = json.loads(json.dumps(manifest))
        kept["metadata"].setdefault("annotations", {})[LAST_APPLIED] = json.dumps(manifest)
        if manifest["kind"] == "InferenceService":
            ready = "False" if fault() == "unready" else "True"
            condition = {"type": "PredictorReady", "status": ready, "message": "no node has a GPU left"}
            kept["status"] = {"url": "http://tiny.example", "conditions": [condition]}
        place(manifest["kind"], manifest["metadata"]["name"]).write_text(json.dumps(kept))


def get(kind: str, name: str) -> None:
    if (file := place(kind, name)).is_file():
        print(file.read_text())


def wait(service: str) -> None:
    kept = json.loads(place(*service.split("/")).read_text())
    if kept["status"]["conditions"][0]["status"] != "True":
        sys.exit("error: timed out waiting for the condition")


def forward(deployment: str, port: str) -> None:
    name = deployment.removeprefix("deployment/").removesuffix("-predictor")
    server = openai_server.serve(name, 0, fault(), os.environ.get("FAKE_KEY", ""))
    print(f"Forwarding from 127.0.0.1:{server.server_port} -> {port.removeprefix(':')}", flush=True)
    threading.Event().wait()


namespace, verb, *rest = sys.argv[2:]
with (CLUSTER / "asked").open("a") as log:
    print(namespace, verb, *rest, file=log)
match verb:
    case "apply":
        apply()
    case "get":
        get(*(rest[0].split("/") if "/" in rest[0] else rest[:2]))
    case "wait":
        wait(rest[1])
    case "delete":
        place(*rest[:2]).unlink(missing_ok=True)
    case "port-forward":
        forward(rest[1], rest[2])
