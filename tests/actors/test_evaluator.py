"""Code that a model wrote: the real lm-eval runs it, in a process that has no secret."""

import ast
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from actors import environments
from actors.placement import processes
from configs.accuracy import TASKS_FOLDER, Task
from configs.base import REPOSITORY

CANARY = "canary-7c1f"
TASK = """
task: writes_code
dataset_path: json
dataset_kwargs: {data_files: {test: documents.jsonl}}
test_split: test
unsafe_code: true
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "7"
metric_list: [{metric: !function running.pass_at_k, aggregation: mean, higher_is_better: true, k: [1]}]
generation_kwargs: {do_sample: false, max_gen_toks: 64, until: ["[DONE]"]}
"""
RUNNING = """
def pass_at_k(references, predictions, k):
    scope = {}
    exec(predictions[0], scope)
    return {"pass@1": float(scope["answer"]() == int(references[0]))}
"""
CODE = """
import os, subprocess, sys
from pathlib import Path

def answer():
    subprocess.Popen(["sleep", "600"])
    seen = Path("/proc/self/environ").read_text()
    files = [str(path) for path in Path(os.path.expanduser("~")).rglob("*")]
    Path(SEEN).write_text(repr({"environ": dict(os.environ), "kernel": seen, "home": files, "command": sys.argv}))
    return 7
"""


HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": "def answer():\n",
    "test": "def check(one):\n    assert one() == 7\n",
    "entry_point": "answer",
    "canonical_solution": "    return 7\n",
}
COMPLETION = "    import os\n    open(SEEN, 'w').write(repr(dict(os.environ)))\n    return 7"
MBPP = {
    "task_id": 11,
    "text": "Write a function that gives seven.",
    "code": "def answer():\n    return 7",
    "test_list": ["assert answer() == 7", "assert answer() > 6", "assert answer() < 8"],
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation whose model wrote CODE, in a process with secrets."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "documents.jsonl").write_text('{"question": "seven?"}\n{"question": "and?"}\n')
    (folder / "writes_code.yaml").write_text(TASK)
    (folder / "running.py").write_text(RUNNING)
    stock = {}
    for name, row in {"humaneval": HUMANEVAL, "mbpp": MBPP}.items():
        (folder / f"{name}.jsonl").write_text(2 * (json.dumps(row) + "\n"))
        stock[name] = Task(name=name, data_files={"test": folder / f"{name}.jsonl"})
    own = Task(name="writes_code", path=folder / "writes_code.yaml", runs_code=True)
    seen = {name: repr(str(folder / f"seen-{name}.txt")) for name in ("own", "humaneval")}
    runs = {
        "mbpp": run("def answer():\n    return 6", stock["mbpp"]),
        "humaneval": run(COMPLETION.replace("SEEN", seen["humaneval"]), stock["humaneval"]),
        "own": run(CODE.replace("SEEN", seen["own"]), own),
    }
    (folder / "runs.json").write_text(json.dumps(runs))
    secrets = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "MLFLOW_TRACKING_PASSWORD", "VLLM_API_KEY")
    offline = {"HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    known = {"PYTHONPATH": str(REPOSITORY), processes.LEASE_MARK: folder.name + CANARY[:2]}
    interpreter = str(environments.interpreter("inference", "cpu"))
    done = subprocess.run(
        [interpreter, str(REPOSITORY / "tests/fakes/run_generated_code.py"), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, **offline, **known, **dict.fromkeys(secrets, CANARY)},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return folder


def run(answer: str, task: Task) -> dict[str, Any]:
    settings = {
        "tasks": [task.model_dump(mode="json")],
        "tasks_folder": str(TASKS_FOLDER),
        "chat_template": False,
        "system_instruction": None,
        "seed": 42,
        "share": None,
    }
    return {"answer": answer, "settings": settings}


def told(ran: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ran / "found.json").read_text())
    return found


@pytest.mark.parametrize(
    ("name", "task", "metrics"),
    [
        ("own", "writes_code", {"pass@1": 1.0}),
        ("humaneval", "humaneval", {"pass@1": 1.0}),
        ("mbpp", "mbpp", {"pass_at_1": 0.0}),
    ],
)
def test_generated_code_runs_and_is_judged(ran: Path, name: str, task: str, metrics: dict[str, float]) -> None:
    """Offline: lm-eval's own tasks fetch what runs their answers from the hub."""
    found = told(ran)["found"][name]["tasks"][task]
    assert (found["metrics"], found["documents"]) == (metrics, 2)
    assert [score["metric"] for score in found["scores"]] == list(metrics)


def test_generated_code_sees_no_secret(ran: Path) -> None:
    """Those who evaluate have them: the canary is in their environment."""
    own = told(ran)["own"]
    assert CANARY in own["HF_TOKEN"] and "HF_ALLOW_CODE_EVAL" not in own
    seen = (ran / "seen-own.txt").read_text()
    assert "HF_ALLOW_CODE_EVAL" in seen
    assert CANARY not in seen
    assert "'home': []" in seen
    program = ast.literal_eval((ran / "seen-humaneval.txt").read_text())
    assert set(program) <= {"PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR", "HOME", "LC_CTYPE"}


def test_what_generated_code_left_running_ends_with_its_process(ran: Path) -> None:
    assert processes.of_lease(ran.name + CANARY[:2]) == []


def test_code_that_is_not_allowed_is_refused_by_the_engine_too(ran: Path) -> None:
    assert "marked as unsafe" in (ran / "refused.txt").read_text()
