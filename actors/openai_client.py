"""Asking a served model over HTTP, as any client would. Standard library only."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from actors.artifacts import AnswerPair, ReferenceAnswer, ReferenceGap

_TOP = 20
"""Most likely tokens whose log-probabilities a request wants at every position; vLLM's own limit."""
PLAIN_SAMPLING = {"repetition_penalty": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
"""All that vLLM takes from a model's `generation_config.json`, beside the temperature, where a request does not say."""
_PATIENCE_S = 300.0
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


def get(url: str, patience_s: float = _PATIENCE_S, key: str | None = None) -> tuple[int, str]:
    """Status and text of a page, also where the status tells of an error.

    Raises:
        OSError: nobody answers.
    """
    return _response(urllib.request.Request(url, headers=_bearing(key)), patience_s)


def post_nothing(url: str, patience_s: float = _PATIENCE_S) -> int:
    """Status of a path that is sent an empty JSON object, without a key.

    Raises:
        OSError: nobody answers.
    """
    return _response(urllib.request.Request(url, b"{}", {"Content-Type": "application/json"}), patience_s)[0]


def _response(request: urllib.request.Request, patience_s: float) -> tuple[int, str]:
    try:
        with _opener(request.full_url).open(request, timeout=patience_s) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def context_length(url: str, model: str, key: str | None = None) -> int:
    """Tokens that prompt and answer may have together, as the server itself says.

    Args:
        url: address of the API, with /v1.

    Raises:
        OSError: nobody answers.
        ValueError: it does not say.
    """
    _, page = get(f"{url}/models", key=key)
    lengths = {one["id"]: one.get("max_model_len") for one in json.loads(page)["data"]}
    if not lengths.get(model):
        raise ValueError(f"the server at {url} does not report the context length of {model!r} (max_model_len)")
    return int(lengths[model])


def ask(url: str, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
    """The JSON answer to a JSON request.

    Raises:
        OSError: nobody answers, or with an error.
        ValueError: the answer is no JSON.
    """
    with _open(url, body, key) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def stream(url: str, body: dict[str, Any], key: str | None = None) -> tuple[list[dict[str, Any]], bool]:
    """The events of a streamed answer, and whether it came to its end ([DONE]).

    Raises:
        OSError: nobody answers, or with an error.
        ValueError: an event is no JSON.
    """
    events: list[dict[str, Any]] = []
    with _open(url, {**body, "stream": True}, key) as response:
        for line in response:
            data = line.decode().strip().removeprefix("data:").strip()
            if data == "[DONE]":
                return events, True
            if data:
                events.append(json.loads(data))
    return events, False


def exercise(url: str, model: str, at_once: int, key: str | None = None) -> None:
    """Have so many short answers made at the same time, sampled as a load's are.

    Even in eager mode vLLM compiles a function at the first step of several requests, for seconds on a CPU: that is
    no part of what a load measures.

    Args:
        url: address of the API, with /v1.

    Raises:
        OSError: nobody answers, or with an error.
    """
    body = {"model": model, "prompt": "The sea is", "max_tokens": 4, "ignore_eos": True}
    with ThreadPoolExecutor(at_once) as clients:
        list(clients.map(lambda _: ask(f"{url}/completions", body, key), range(at_once)))


def compare_with_reference(
    url: str, model: str, reference: Sequence[ReferenceAnswer], key: str | None = None
) -> ReferenceGap:
    """How far the served variant is from the reference answers of `engines.huggingface`.

    Three looks, because a broken kernel may spare one of them: log-probabilities of the whole
    reference text (prefill); how far the reference's greedy token is from the served best one,
    position by position; and greedy decoding itself: where it leaves the reference text, its token
    must be nearly as good by the served model's own prefill.

    Args:
        url: address of the API, with /v1.
        key: what the server asks for as a bearer token, if it does.
    """
    differences: list[float] = []
    gaps: list[float] = []
    decoding_gaps: list[float] = []
    answers = []
    for expected in reference:
        prompt, answer = list(expected.prompt_ids), list(expected.answer_ids)
        scored = _complete(url, model, prompt + answer, max_tokens=1, echo=True, key=key)["logprobs"]
        served = scored["token_logprobs"][: len(prompt) + len(answer)]
        differences += [abs(s - r) for s, r in zip(served[1:], expected.logprobs[1:], strict=True)]
        forced, tops = (scored[name][len(prompt) : len(prompt) + len(answer)] for name in ("tokens", "top_logprobs"))
        gaps += [max(top.values()) - s for top, s in zip(tops, served[len(prompt) :], strict=True)]
        decoded = _complete(url, model, prompt, max_tokens=len(answer), echo=False, key=key)
        decoding_gaps.append(_decoding_gap(decoded["logprobs"]["tokens"], forced, tops))
        answers.append(AnswerPair(reference=expected.answer, served=decoded["text"]))
    return ReferenceGap(
        mean_logprob_difference=sum(differences) / len(differences),
        worst_greedy_gap=max(gaps),
        worst_decoding_gap=max(decoding_gaps),
        answers=tuple(answers),
    )


def _decoding_gap(decoded: list[str], forced: list[str], tops: list[dict[str, float]]) -> float:
    """By how many nats prefill prefers its best token to the first one with which decoding leaves the text;
    at least that many where the token is not among its best."""
    for mine, theirs, top in zip(decoded, forced, tops, strict=False):
        if mine != theirs:
            return max(top.values()) - top.get(mine, min(top.values()))
    return 0.0


def _complete(
    url: str, model: str, prompt: list[int], *, max_tokens: int, echo: bool, key: str | None
) -> dict[str, Any]:
    """One answer, chosen by log-probability alone. Tokens are named by their ids: several may have the same text, such
    as parts of a letter, or none."""
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": 0,
        "echo": echo,
        "logprobs": _TOP,
        "ignore_eos": True,
        "return_tokens_as_token_ids": True,
        "skip_special_tokens": False,
        **PLAIN_SAMPLING,
    }
    try:
        choice: dict[str, Any] = ask(f"{url}/completions", body, key)["choices"][0]
    except TimeoutError:
        size = f"the {len(prompt)} tokens of its reference"
        raise TimeoutError(f"{size} were not answered within {_PATIENCE_S:.0f} s") from None
    return choice


def _open(url: str, body: dict[str, Any], key: str | None) -> Any:
    headers = {"Content-Type": "application/json", **_bearing(key)}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    return _opener(url).open(request, timeout=_PATIENCE_S)


def _opener(url: str) -> urllib.request.OpenerDirector:
    """By the proxy that the environment names, if any; never for this machine, which no proxy can reach for us.
    Offline, Ray's own workers have one in their environment that leads nowhere (`flows.own_ray`)."""
    here = urlsplit(url).hostname in _THIS_MACHINE
    return urllib.request.build_opener(_StaysThere, *([urllib.request.ProxyHandler({})] if here else []))


class _StaysThere(urllib.request.HTTPRedirectHandler):
    """A redirect to another server is an error: the key is for nobody else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _bearing(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
