"""Answers every task with the same 200 documents."""

import json
from pathlib import Path
from typing import Any


def evaluate(engine: str, arguments: dict[str, Any], *, tasks: list[dict[str, Any]], samples: Path, **_: Any) -> Any:
    results = {}
    for task in tasks:
        rows = [{"doc_id": i, "doc_hash": str(i), "acc": float(i % 2)} for i in range(200)]
        (samples / f"{task['name']}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        results[task["name"]] = {
            "metrics": {"acc": 0.5},
            "higher_is_better": {"acc": True},
            "documents": len(rows),
            "version": 1,
        }
    return results
