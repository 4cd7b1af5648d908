"""lm-eval's models, with the same prompts: whoever answers gets the same token ids for the same document.

lm-eval's own vLLM model is the measure. Its model for servers adds no BOS, takes 2,048 tokens for every context, keeps
a token less for prompts, and gives all repeats of a document one seed; its transformers model fits two tokens more into
a context, as it generates nothing behind them. Here all three render, encode and cut in one way, and count the
documents that were cut.
"""

import asyncio
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import jinja2
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.models.utils import (
    _add_special_kwargs,
    handle_stop_sequences,
    has_bos_prefix,
    maybe_truncate,
    normalize_gen_kwargs,
    postprocess_generated_text,
)

from actors import openai_client

_MAX_GEN_TOKS = 256
"""Longest answer where a task says nothing, as in all of lm-eval's models."""
_REPEATS_APART = 1_000_003
"""From the seed of one repeat of a document to that of the next, so that no two of an experiment's seeds meet."""


class Asked(TemplateLM):  # type: ignore[misc]
    """What is common to lm-eval's models here; put in front of one of them as a base class.

    Args:
        context_length: tokens that prompt and answer may have together.
        arguments: the model's own.
    """

    def __init__(self, *, context_length: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.context_length = context_length
        self.begin(seed=0)

    def begin(self, seed: int) -> None:
        """Forget what was counted, and draw answers with this seed from now on."""
        self.seed = seed
        self.cut: set[tuple[str, int]] = set()
        """Task and number of the documents whose prompts lost their beginning."""
        self.split: set[tuple[str, int]] = set()
        """Those that were read in several windows, each without what was in the one before."""
        self.without_system = False
        """Whether the chat template refused a system message, which was then left out, as lm-eval does."""
        self._repeats: Counter[tuple[int, ...]] = Counter()
        self._scored: list[tuple[str, int]] = []

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A chat as the model's own template renders it."""
        try:
            return self._rendered(chat_history, add_generation_prompt)
        except jinja2.exceptions.TemplateError:
            others = [message for message in chat_history if message["role"] != "system"]
            if others == chat_history:
                raise
            self.without_system = True
            return self._rendered(others, add_generation_prompt)

    def _rendered(self, chat: list[dict[str, str]], add_generation_prompt: bool) -> str:
        rendered: str = self.tokenizer.apply_chat_template(
            chat,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return rendered

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As lm-eval's.

        Raises:
            ValueError: an answer has no token or too many, or its log-likelihood is not a number.
        """
        for request in requests:
            if not request.args[1]:
                raise ValueError(f"document {request.doc_id} of {request.task_name} has an empty answer to score")
        self._scored = [(request.task_name, request.doc_id) for request in requests]
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        self._numbers(requests, [one for one, _ in answers])
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """As lm-eval's; raises ValueError as `loglikelihood` does."""
        room = self.context_length - 2  # a first token to begin with, and one that is generated
        for request in requests:
            if len(self.tok_encode(request.args[0])) > room:
                self.split.add((request.task_name, request.doc_id))
        answers: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        self._numbers(requests, answers)
        return answers

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """As lm-eval's, but for a context of blanks: lm-eval moves those to the answer, and has nothing before it."""
        if context.strip():
            pair: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
            return pair
        return [self.prefix_token_id], self.tok_encode(context + continuation, add_special_tokens=False)

    def _loglikelihood_tokens(self, requests: list[Any], **further: Any) -> list[tuple[float, bool]]:
        room = self.context_length - 1  # one is generated
        windows = bool(requests) and requests[0][0] is None  # of a rolling text: they fit
        for document, (_, context, answer) in () if windows else zip(self._scored, requests, strict=True):
            if not 0 < len(answer) < room:
                raise ValueError(
                    f"document {document[1]} of {document[0]} has an answer of {len(answer)} tokens; an "
                    f"answer to score has at least one token, and fewer than the context of {self.context_length}"
                )
            if len(context) + len(answer) > room:
                self.cut.add(document)
        answers: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, **further)
        return answers

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """As lm-eval's.

        Raises:
            ValueError: an answer as long as it may get leaves no room for a prompt.
        """
        for request in requests:
            text, settings = request.args
            longest = normalize_gen_kwargs(settings, _MAX_GEN_TOKS)["max_gen_toks"]
            if longest >= self.context_length:
                raise ValueError(
                    f"{request.task_name} generates up to {longest} tokens, which leaves no room in a context of "
                    f"{self.context_length} for a prompt; raise serving.max_model_len or lower max_gen_toks"
                )
            if len(self.tok_encode(text)) + longest > self.context_length:
                self.cut.add((request.task_name, request.doc_id))
        answers: list[str] = self._generate(requests, disable_tqdm)
        return answers

    def _generate(self, requests: list[Instance], disable_tqdm: bool) -> list[str]:
        answers: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
        return answers

    def seed_of(self, tokens: Sequence[int]) -> int:
        """With what the next answer to a prompt is drawn: every repeat of it has a seed of its own."""
        repeat = self._repeats[tuple(tokens)]
        self._repeats[tuple(tokens)] += 1
        return self.seed + repeat * _REPEATS_APART

    def _numbers(self, requests: list[Instance], values: list[float]) -> None:
        for request, value in zip(requests, values, strict=True):
            if math.isnan(value):
                raise ValueError(
                    f"the log-likelihood of document {request.doc_id} of {request.task_name} is not a number; the "
                    "engine computes wrongly"
                )


class Served(Asked, LocalCompletionsAPI):  # type: ignore[misc]
    """A vLLM server that gets, as token ids, the requests of lm-eval's vLLM model to its own engine."""

    def __init__(self, *, base_url: str, model: str, tokenizer: str, num_concurrent: int, key: str) -> None:
        length = openai_client.context_length(base_url.removesuffix("/completions"), model, key)
        super().__init__(
            context_length=length,
            max_length=length,
            base_url=base_url,
            header={"Authorization": f"Bearer {key}"},  # or lm-eval would send a user's own OPENAI_API_KEY
            model=model,
            tokenizer=tokenizer,
            num_concurrent=num_concurrent,
            tokenizer_backend="huggingface",
            tokenized_requests=True,
            add_bos_token=None,  # as the tokenizer does
            max_gen_toks=_MAX_GEN_TOKS,
            max_retries=3,
            timeout=600,
        )

    def tok_encode(self, string: Any, add_special_tokens: bool | None = None, **further: Any) -> Any:
        """As lm-eval's own models encode: with what the tokenizer adds, but no BOS beside a template's."""
        if not isinstance(string, str):
            return [self.tok_encode(one, add_special_tokens=add_special_tokens) for one in string]
        if not string:
            return []
        first = self.prefix_token_id
        if add_special_tokens is None and first is not None and has_bos_prefix(string, self.tokenizer.decode(first)):
            add_special_tokens = False
        return self.tokenizer(string, return_attention_mask=False, **_add_special_kwargs(add_special_tokens)).input_ids

    def _generate(self, requests: list[Instance], disable_tqdm: bool) -> list[str]:
        """Prompts with the same settings together, as many at once as may be."""
        alike: dict[str, list[int]] = defaultdict(list)
        prompts = []
        for index, request in enumerate(requests):
            settings = normalize_gen_kwargs(request.args[1], _MAX_GEN_TOKS)
            tokens, _ = maybe_truncate(
                self.tok_encode(request.args[0]), settings["max_gen_toks"], self.context_length, verbose=False
            )
            prompts.append(tokens)
            alike[json.dumps({**settings, "seed": self.seed_of(tokens)}, sort_keys=True)].append(index)
        answers = [""] * len(requests)
        for written, indexes in alike.items():
            settings = json.loads(written)
            ends = handle_stop_sequences(list(settings["until"]), self.eos_string)
            responses = self.get_batched_requests(
                [prompts[index] for index in indexes], [None] * len(indexes), generate=True, gen_kwargs=settings
            )
            texts = itertools.chain.from_iterable(asyncio.run(responses))
            for index, text in zip(indexes, texts, strict=True):
                answers[index] = postprocess_generated_text(text, ends, None)
        return answers

    def _create_payload(
        self,
        messages: Any,
        generate: bool = False,
        gen_kwargs: dict[str, Any] | None = None,
        seed: int = 0,
        eos: str | None = None,
        **further: Any,
    ) -> dict[str, Any]:
        """A request that leaves nothing to the server: neither how to sample, nor which tokens have a text."""
        if not generate:
            scored: dict[str, Any] = super()._create_payload(messages, generate=False, seed=self.seed)
            return scored | openai_client.PLAIN_SAMPLING | {"return_tokens_as_token_ids": True}
        settings = dict(gen_kwargs or {})
        del settings["do_sample"]  # the temperature says it
        return {
            "model": self.model,
            "prompt": messages,
            "stop": handle_stop_sequences(settings.pop("until"), self.eos_string),
            "max_tokens": settings.pop("max_gen_toks"),
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
            **openai_client.PLAIN_SAMPLING,
            **settings,
        }


def make(engine: str, arguments: dict[str, Any], batch_size: int) -> Any:
    """The model that answers for an engine.

    Args:
        engine: `served`, `vllm` or `hf`.
        arguments: as of `actors.engines.lm_eval.evaluate`.
        batch_size: documents at once, in an engine of this process.
    """
    if engine == "served":
        return Served(**arguments)
    length = int(arguments["max_model_len"])
    if engine == "vllm":
        return _vllm()(context_length=length, batch_size=batch_size, max_gen_toks=_MAX_GEN_TOKS, **arguments)
    further = {name: value for name, value in arguments.items() if name != "max_model_len"}
    return _transformers()(context_length=length, max_length=length - 2, batch_size=batch_size, **further)


def _vllm() -> type[Asked]:
    from lm_eval.models.vllm_causallms import VLLM

    class InProcess(Asked, VLLM):  # type: ignore[misc]
        """vLLM's engine in this process."""

        def _model_generate(self, requests: Any, generate: bool = False, sampling_params: Any = None) -> Any:
            if generate:
                for tokens, params in zip(requests, sampling_params, strict=True):
                    params.seed = self.seed_of(tokens)
            return super()._model_generate(requests, generate=generate, sampling_params=sampling_params)

    return InProcess


def _transformers() -> type[Asked]:
    from lm_eval.models.huggingface import HFLM

    from actors.engines import huggingface

    class Transformers(Asked, HFLM):  # type: ignore[misc]
        """transformers in this process. lm-eval has room for two tokens more there than in vLLM, but to generate."""

        def _generate(self, requests: list[Instance], disable_tqdm: bool) -> list[str]:
            self._max_length += 2
            try:
                with huggingface.by_its_logits_alone(self.model):
                    return super()._generate(requests, disable_tqdm)
            finally:
                self._max_length -= 2

    return Transformers
