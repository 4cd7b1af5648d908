"""Runs in the inference environment: the real lm-eval on a task that runs what a model wrote.

    PYTHONPATH=REPOSITORY INTERPRETER run_generated_code.py FOLDER

A server stands for the model. FOLDER/runs.json has, by name, what it answers to everything, and settings of
`Evaluator`; what came of each run is written to FOLDER/found.json, and FOLDER/refused.txt has what is said where code
is not allowed.
"""

import json
import os
import sys
from pathlib import Path

import record_prompts

from actors.as_json import to_json

folder = Path(sys.argv[1])
model = record_prompts.checkpoint(folder / "model", "bos", 4096)
found, allowed = {}, {"allow_code": True}
for name, run in json.loads((folder / "runs.json").read_text()).items():
    record_prompts.ANSWER, samples = run["answer"], folder / f"samples-{name}"
    samples.mkdir()
    settings = run["settings"] | {"samples": str(samples)}
    evaluation, _ = record_prompts.ask_server(model, {"context_length": 4096, "settings": settings | allowed})
    found[name] = to_json(evaluation)
(folder / "found.json").write_text(json.dumps({"found": found, "own": dict(os.environ)}))
try:
    record_prompts.ask_server(model, {"context_length": 4096, "settings": settings})
except ValueError as error:
    (folder / "refused.txt").write_text(str(error))
