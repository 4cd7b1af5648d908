"""Runs in the inference environment: the real lm-eval, and what each engine is asked, token by token.

    PYTHONPATH=REPOSITORY INTERPRETER record_prompts.py SETTINGS.json

SETTINGS.json has `runs`, each with `engine`, `tokenizer` ("bos", "plain" or "template"), `samples` (a folder),
`context_length`, `tasks` and further settings of `Evaluator`. A server that only records stands for vLLM's, and an
engine that only records for the one in this process; transformers runs a random model of one layer. Written beside
SETTINGS.json: asked.json with, for each run, its result and all that was asked in a fixed order.
"""

import http.server
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from actors.artifacts import Evaluation
from actors.as_json import to_json
from actors.evaluator import Evaluator

CHAT = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
BEGIN, END = "<s>", "</s>"
KEY = "sesame"
"""What the server asks for."""
ANSWER = "one</s> two"


def checkpoint(folder: Path, kind: str, positions: int) -> Path:
    """A random model and a tokenizer of bytes: with a BOS, without any, or with one that its chat template writes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    begins = [BEGIN] if kind != "plain" else []
    words = {word: place for place, word in enumerate([*begins, END, *alphabet])}
    bare = Tokenizer(models.BPE(vocab=words, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    if begins:
        bare.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A", special_tokens=[(BEGIN, words[BEGIN])]
        )
    named = {"bos_token": BEGIN} if begins else {}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token=END, **named)
    if kind == "template":
        tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(
        vocab_size=len(words), max_position_embeddings=positions, eos_token_id=words[END], bos_token_id=None, **shape
    )
    model = LlamaForCausalLM(config)
    model.generation_config.repetition_penalty = 1.5
    model.generation_config.max_new_tokens = 3
    model.save_pretrained(folder)
    return folder


class Server(http.server.BaseHTTPRequestHandler):
    """Answers as vLLM's server does, and keeps what it was asked."""

    context_length = 0
    asked: list[dict[str, Any]] = []  # noqa: RUF012 - one for the process

    def log_message(self, *_: Any) -> None:
        pass

    def parse_request(self) -> bool:
        """Nobody is answered without the key."""
        known = super().parse_request() and self.headers["Authorization"] == f"Bearer {KEY}"
        if not known:
            self.send_error(401)
        return known

    def do_GET(self) -> None:
        self.answer({"data": [{"id": "model", "max_model_len": self.context_length}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (tokens,) = body["prompt"]
        self.asked.append({"echo": False, **body, "prompt": tokens})
        if not body.get("echo"):
            self.answer({"choices": [{"index": 0, "text": ANSWER}]})
            return
        scored = [None, *(-1.0 for _ in tokens)]
        names = [{f"token_id:{one}": -1.0} for one in [*tokens, 0]]
        self.answer({"choices": [{"index": 0, "logprobs": {"token_logprobs": scored, "top_logprobs": names}}]})

    def answer(self, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def ask_server(folder: Path, run: dict[str, Any]) -> tuple[Evaluation, list[Any]]:
    Server.context_length, Server.asked = run["context_length"], []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    found = Evaluator().evaluate_served(url, "model", str(folder), 4, KEY, **run["settings"])
    server.shutdown()
    return found, Server.asked


def ask_vllm(folder: Path, run: dict[str, Any]) -> tuple[Evaluation, list[Any]]:
    from lm_eval.models import vllm_causallms
    from vllm.engine.arg_utils import EngineArgs

    asked = []

    class Engine:
        """In the place of vLLM's `LLM`."""

        def __init__(self, model: str, max_model_len: int, generation_config: str, **_: Any) -> None:
            told = EngineArgs(model=model, max_model_len=max_model_len, generation_config=generation_config)
            self.llm_engine = SimpleNamespace(model_config=told.create_model_config())

        def generate(self, prompts: list[Any], sampling_params: list[Any], **_: Any) -> list[Any]:
            answers = []
            for prompt, params in zip(prompts, sampling_params, strict=True):
                tokens = prompt["prompt_token_ids"]
                asked.append(
                    {
                        "prompt": tokens,
                        "echo": params.prompt_logprobs is not None,
                        **{name: getattr(params, name) for name in ("max_tokens", "stop", "temperature", "seed")},
                    }
                )
                scored = [None, *({one: -1.0} for one in tokens[1:])]
                answers.append(SimpleNamespace(prompt_logprobs=scored, outputs=[SimpleNamespace(text=ANSWER)]))
            return answers

    vllm_causallms.LLM = Engine
    arguments = {"max_model_len": run["context_length"], "dtype": "float32", "generation_config": "auto"}
    return Evaluator().evaluate_checkpoint("vllm", str(folder), arguments, batch_size=4, **run["settings"]), asked


def ask_transformers(folder: Path, run: dict[str, Any]) -> tuple[Evaluation, list[Any]]:
    from lm_eval.models.huggingface import HFLM

    asked: list[Any] = []
    call, generate = HFLM._model_call, HFLM._model_generate

    def called(self: Any, inps: Any, **further: Any) -> Any:
        asked.append({"prompt": inps[0].tolist(), "echo": True})
        return call(self, inps, **further)

    def generated(self: Any, context: Any, max_length: int, stop: Any, **settings: Any) -> Any:
        answer = generate(self, context, max_length, stop, **settings)
        config = self.model.generation_config
        asked.append(
            {
                "prompt": context[0].tolist(),
                "echo": False,
                "max_tokens": max_length - context.shape[1],
                "repetition_penalty": config.repetition_penalty or 1.0,
                "answered": answer.shape[1] - context.shape[1],
            }
        )
        return answer

    HFLM._model_call, HFLM._model_generate = called, generated
    try:
        arguments = {"max_model_len": run["context_length"], "dtype": "float32", "device": "cpu"}
        return Evaluator().evaluate_checkpoint("hf", str(folder), arguments, batch_size=1, **run["settings"]), asked
    finally:
        HFLM._model_call, HFLM._model_generate = call, generate


if __name__ == "__main__":
    written = Path(sys.argv[1])
    ask = {"served": ask_server, "vllm": ask_vllm, "hf": ask_transformers}
    results = []
    for run in json.loads(written.read_text())["runs"]:
        folder = written.parent / f"{run['tokenizer']}-{run['context_length']}"
        if not folder.is_dir():
            checkpoint(folder, run["tokenizer"], run["context_length"])
        try:
            evaluation, asked = ask[run["engine"]](folder, run)
            found = to_json(evaluation)
        except ValueError as error:
            found, asked = {"error": str(error)}, []
        results.append({"result": found, "asked": sorted(asked, key=lambda one: (one["prompt"], one.get("seed") or 0))})
    (written.parent / "asked.json").write_text(json.dumps(results))
