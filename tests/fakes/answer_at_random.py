"""Runs in the inference environment: the real lm-eval on its own dummy model, which answers at random.

    PYTHONPATH=REPOSITORY INTERPRETER answer_at_random.py SETTINGS.json

SETTINGS.json has arguments of `actors.engines.lm_eval.evaluate` and a list of `runs`, each with `samples`, a folder,
and `random`, a seed. The results go to `samples`/result.json.
"""

import json
import random
import sys
from pathlib import Path

from lm_eval.models.dummy import DummyLM

from actors.as_json import to_json
from actors.engines import lm_eval, lm_eval_models

WORDS = ["lol", "and", "1", "2", "3", "then", "####", "2"]


class Talker(DummyLM):  # type: ignore[misc]
    """Says words, too, and has room for every prompt."""

    context_length, without_system = 2048, False
    cut: frozenset[tuple[str, int]] = frozenset()
    split = cut

    def begin(self, seed: int) -> None:
        pass

    def tok_encode(self, text: str, **_: object) -> list[str]:
        return list(text)

    def generate_until(self, requests: list[object], disable_tqdm: bool = False) -> list[str]:
        return [" ".join(random.choices(WORDS, k=8)) for _ in requests]


settings = json.loads(Path(sys.argv[1]).read_text())
lm_eval_models.make = lambda *_: Talker()
for run in settings.pop("runs"):
    random.seed(run["random"])
    folders = {"samples": Path(run["samples"]), "tasks_folder": Path(settings["tasks_folder"])}
    found = lm_eval.evaluate("served", {"tokenizer": run["samples"]}, **{**settings, **folders})
    (folders["samples"] / "result.json").write_text(json.dumps(to_json(found)))
