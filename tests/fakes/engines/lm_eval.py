"""Answers every task with the same 200 documents, or with a share of them; badly for a variant called bad,
and with a perplexity of its own for one called broken."""

import json
import math
import os
from pathlib import Path
from typing import Any

from actors.artifacts import Evaluation, Prompts, Score, TaskScores
from actors.engines import pace

DOCUMENTS = 200


def evaluate(
    engine: str,
    arguments: dict[str, Any],
    *,
    tasks: list[dict[str, Any]],
    samples: Path,
    share: tuple[float, float] | None,
    **_: Any,
) -> Evaluation:
    pace.take_time()
    name = str(arguments.get("model", ""))
    first, last = (int(DOCUMENTS * edge) for edge in share or (0.0, 1.0))
    results: dict[str, TaskScores] = {}
    for task in tasks:
        text = task["name"] == "everyday_text"
        metric, value = ("word_perplexity", 900.0 if "broken" in name else 30.0) if text else ("acc", 0.5)
        right = [0.0 if "bad" in name else float(i % 2) for i in range(DOCUMENTS)]
        rows = [
            {"doc_id": i, "doc_hash": str(i), metric: [-math.log(value), 1.0] if text else right[i]}
            for i in range(first, last)
        ]
        (samples / f"{task['name']}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        score = Score(metric, "none", "perplexity" if text else "mean", higher_is_better=not text)
        results[task["name"]] = TaskScores(metrics={metric: value}, scores=(score,), documents=len(rows), version=1)
    (samples / "allow_code").write_text(os.environ.get("HF_ALLOW_CODE_EVAL", ""))
    return Evaluation(results, Prompts(generation_config_left_out={"repetition_penalty": 1.1}))
