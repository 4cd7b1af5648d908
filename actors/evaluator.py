"""The actor that measures accuracy. It runs in the `inference` environment.

With engine `served` it holds nothing and asks a deployment; with `vllm` or `hf` it owns the device.
"""

from pathlib import Path
from typing import Any


class Evaluator:
    """Runs lm-evaluation-harness; see `actors.engines.lm_eval.evaluate`."""

    def evaluate_served(self, url: str, model: str, tokenizer: str, concurrency: int, key: str, **settings: Any) -> Any:
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

    def evaluate_checkpoint(self, engine: str, checkpoint: str, model: dict[str, Any], **settings: Any) -> Any:
        """Evaluate a checkpoint with an engine of this actor's own, `vllm` or `hf`.

        Args:
            model: further arguments of that engine, such as vLLM's engine settings; `max_model_len` among them.
        """
        return self._evaluate(engine, {"pretrained": checkpoint, **model}, **settings)

    def _evaluate(
        self, engine: str, arguments: dict[str, Any], *, samples: str, tasks_folder: str, **settings: Any
    ) -> Any:
        from actors.engines import lm_eval

        return lm_eval.evaluate(engine, arguments, samples=Path(samples), tasks_folder=Path(tasks_folder), **settings)
