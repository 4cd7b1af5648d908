"""Answers every task with the same 200 documents, or with a share of them; badly for a variant called bad,
and with a perplexity of its own for one called broken."""

import json
import math
import os
from pathlib import Path
from typing import Any

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
) -> Any:
    pace.take_time()
    name = str(arguments.get("model", ""))
    first, last = (int(DOCUMENTS * edge) for edge in share or (0.0, 1.0))
    results: dict[str, Any] = {}
    for task in tasks:
        text = task["name"] == "everyday_text"
        metric, value = ("word_perplexity", 900.0 if "broken" in name else 30.0) if text else ("acc", 0.5)
        right = [0.0 if "bad" in name else float(i % 2) for i in range(DOCUMENTS)]
        rows = [
            {"doc_id": i, "doc_hash": str(i), metric: [-math.log(value), 1.0] if text else right[i]}
            for i in range(first, last)
        ]
        (samples / f"{task['name']}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        results[task["name"]] = {
            "metrics": {metric: value},
            "scores": [
                {
                    "metric": metric,
                    "filter": "none",
                    "kind": "perplexity" if text else "mean",
                    "higher_is_better": not text,
                }
            ],
            "documents": len(rows),
            "version": 1,
        }
    prompts = {"generation_config_left_out": {"repetition_penalty": 1.1}}
    return {"tasks": results, "prompts": {**prompts, "allow_code": os.environ.get("HF_ALLOW_CODE_EVAL")}}
