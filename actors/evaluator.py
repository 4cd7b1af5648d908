"""The actor that measures accuracy. It runs in the `inference` environment.

With engine `served` it holds nothing and asks a deployment; with `vllm` or `hf` it owns the device. This file is also
the program of the process in which code runs that a model wrote.
"""

import os
import sys
from pathlib import Path
from typing import Any

from actors.artifacts import Evaluation
from actors.as_json import Misfit, from_json, to_json
from actors.programs import without_secrets

_PROXIES = {"http_proxy", "https_proxy", "no_proxy"}


class Evaluator:
    """Runs lm-evaluation-harness; see `actors.engines.lm_eval.evaluate`."""

    def evaluate_served(
        self, url: str, model: str, tokenizer: str, concurrency: int, key: str, **settings: Any
    ) -> Evaluation:
        """Evaluate a deployment at an OpenAI-compatible address.

        Args:
            tokenizer: the checkpoint folder that the tokenizer is read from.
            key: what the deployment asks for.
        """
        arguments = {
            "base_url": f"{url}/completions",
            "model": model,
            "tokenizer": tokenizer,
            "num_concurrent": concurrency,
            "key": key,
        }
        return self._evaluate("served", arguments, batch_size=concurrency, **settings)

    def evaluate_checkpoint(self, engine: str, checkpoint: str, model: dict[str, Any], **settings: Any) -> Evaluation:
        """Evaluate a checkpoint with an engine of this actor's own, `vllm` or `hf`.

        Args:
            model: further arguments of that engine, such as vLLM's engine settings; `max_model_len` among them.
        """
        return self._evaluate(engine, {"pretrained": checkpoint, **model}, **settings)

    def _evaluate(
        self, engine: str, arguments: dict[str, Any], *, allow_code: bool = False, **settings: Any
    ) -> Evaluation:
        """Evaluate here, or, where code that a model wrote may run, in a process without secrets."""
        call = {"engine": engine, "arguments": arguments, "allow_code": allow_code, **settings}
        if not allow_code:
            return evaluate(**call)
        from actors.placement import lease

        known = lease.passed_on() | lease.without_passwords(_proxies())
        answer = without_secrets.ask("actors.evaluator", call, known)
        try:
            return from_json(Evaluation, answer)
        except Misfit as misfit:
            raise RuntimeError(f"what the process that ran the model's code says of itself {misfit}") from None


def evaluate(engine: str, arguments: dict[str, Any], *, samples: str, tasks_folder: str, **settings: Any) -> Evaluation:
    """`actors.engines.lm_eval.evaluate` in this process, with folders by their names."""
    from actors.engines import lm_eval

    return lm_eval.evaluate(engine, arguments, samples=Path(samples), tasks_folder=Path(tasks_folder), **settings)


def _proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}


if __name__ == "__main__":
    without_secrets.answer(Path(sys.argv[1]), lambda **call: to_json(evaluate(**call)))
