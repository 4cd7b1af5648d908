"""The actor that serves variants: one Serve application each, and proof that none is left.

It runs in the `inference` environment and holds no device itself: the replicas do.
"""

import json
import threading
import time
import urllib.request
from typing import Any

_TOP = 20
"""Of how many tokens the log-probability is asked at every position; vLLM's own limit."""


class Server:
    """Deploys, checks and removes Serve applications; several may start at the same time.

    Their building is done one at a time: two builders at once race inside Ray's registry.
    """

    def __init__(self) -> None:
        self._building = threading.Lock()

    def warm_up(self) -> None:
        """Import what building needs: 9 s, which can pass while there is nothing to serve yet."""
        with self._building:
            from actors.engines import ray_serve_llm  # noqa: F401

    def submit(self, name: str, checkpoint: str, lease: str, settings: dict[str, Any]) -> str:
        """Ask for a variant's application; return the address that Serve listens on. See
        `actors.engines.ray_serve_llm.submit`."""
        with self._building:
            from actors.engines import ray_serve_llm

            return ray_serve_llm.submit(name, checkpoint, lease=lease, **settings)

    def wait(self, name: str, timeout_s: float) -> float:
        """Wait until an application answers; return the seconds that it took."""
        from actors.engines import ray_serve_llm

        started = time.monotonic()
        ray_serve_llm.wait(name, timeout_s)
        return time.monotonic() - started

    def remove(self, name: str) -> None:
        """Delete an application, where there is one."""
        from actors.engines import ray_serve_llm

        ray_serve_llm.remove(name)

    def applications(self, prefix: str) -> list[str]:
        """Names of the applications that begin with `prefix`."""
        from actors.engines import ray_serve_llm

        return [name for name in ray_serve_llm.applications() if name.startswith(prefix)]

    def close(self) -> None:
        """End Serve where no application is left."""
        from actors.engines import ray_serve_llm

        ray_serve_llm.close()

    def compare_with_reference(self, url: str, model: str, reference: list[dict[str, Any]]) -> dict[str, Any]:
        """How far the served variant is from the reference answers of `engines.huggingface`.

        Three looks, because a broken kernel may spare one of them: log-probabilities of the whole
        reference text (prefill); how far the reference's greedy token is from the served best one,
        position by position; and greedy decoding itself: where it leaves the reference text, its token
        must be nearly as good by the served model's own prefill.

        Returns:
            `mean_logprob_difference`, `worst_greedy_gap` and `worst_decoding_gap` in nats, and both
            answers of each prompt.
        """
        differences: list[float] = []
        gaps: list[float] = []
        decoding_gaps: list[float] = []
        answers = []
        for expected in reference:
            prompt, answer = expected["prompt_ids"], expected["answer_ids"]
            scored = _complete(url, model, prompt + answer, max_tokens=1, echo=True)
            served = scored["token_logprobs"][: len(prompt) + len(answer)]
            differences += [abs(s - r) for s, r in zip(served[1:], expected["logprobs"][1:], strict=True)]
            forced, tops = (scored[key][len(prompt) : len(prompt) + len(answer)] for key in ("tokens", "top_logprobs"))
            gaps += [max(top.values()) - s for top, s in zip(tops, served[len(prompt) :], strict=True)]
            decoded = _complete(url, model, prompt, max_tokens=len(answer), echo=False)
            decoding_gaps.append(_decoding_gap(decoded["tokens"], forced, tops))
            answers.append({"reference": expected["answer"], "served": "".join(decoded["tokens"])})
        return {
            "mean_logprob_difference": sum(differences) / len(differences),
            "worst_greedy_gap": max(gaps),
            "worst_decoding_gap": max(decoding_gaps),
            "answers": answers,
        }


def _decoding_gap(decoded: list[str], forced: list[str], tops: list[dict[str, float]]) -> float:
    """By how many nats prefill prefers its best token to the first one with which decoding leaves the text;
    at least that many where the token is not among its best."""
    for mine, theirs, top in zip(decoded, forced, tops, strict=False):
        if mine != theirs:
            return max(top.values()) - top.get(mine, min(top.values()))
    return 0.0


def _complete(url: str, model: str, prompt: list[int], *, max_tokens: int, echo: bool) -> dict[str, Any]:
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": 0,
        "echo": echo,
        "logprobs": _TOP,
        "ignore_eos": True,
    }
    request = urllib.request.Request(
        f"{url}/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as response:
        logprobs: dict[str, Any] = json.load(response)["choices"][0]["logprobs"]
    return logprobs
