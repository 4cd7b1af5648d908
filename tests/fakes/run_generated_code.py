"""Runs in the inference environment: the real lm-eval on a task that runs what a model wrote.

    PYTHONPATH=REPOSITORY INTERPRETER run_generated_code.py FOLDER

A server that always gives the same answer, FOLDER/code.txt, stands for the model. FOLDER has the task, too; what came
of it is written to FOLDER/found.json, and FOLDER/refused.txt has what is said where code is not allowed.
"""

import json
import os
import sys
from pathlib import Path

import record_prompts

folder = Path(sys.argv[1])
record_prompts.ANSWER = (folder / "code.txt").read_text()
model = record_prompts.checkpoint(folder / "model", "bos", 2048)
samples = folder / "samples"
samples.mkdir()
settings = {**json.loads((folder / "settings.json").read_text()), "samples": str(samples)}
found, _ = record_prompts.ask_server(model, {"context_length": 2048, "settings": settings | {"allow_code": True}})
(folder / "found.json").write_text(json.dumps({"found": found, "own": dict(os.environ)}))
try:
    record_prompts.ask_server(model, {"context_length": 2048, "settings": settings})
except ValueError as error:
    (folder / "refused.txt").write_text(str(error))
