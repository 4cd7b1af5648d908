"""What the real tests share: the store of one smoke run, and a tiny random model made with its tokenizer."""

import subprocess
from pathlib import Path

import pytest
from real_support import on_real_engines, run_flow

from actors import environments
from configs.base import REPOSITORY

TINY_QWEN = """
import sys
from pathlib import Path
import torch
from actors.engines import huggingface
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

torch.manual_seed(0)
destination = Path(sys.argv[1])
base = AutoTokenizer.from_pretrained(sys.argv[2])
shape = dict(hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(base), max_position_embeddings=512, **shape)).to(torch.bfloat16)
model.save_pretrained(destination)
base.save_pretrained(destination)
"""


@pytest.fixture(scope="session")
def smoke_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store after the smoke experiment."""
    store = tmp_path_factory.mktemp("smoke")
    done = run_flow("configs/experiments/smoke.yaml", store=store)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return store


@pytest.fixture(scope="session")
def tiny_model(smoke_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Qwen2 with the embedded model's tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny-qwen2"
    tokenizer = next(smoke_store.glob("records/prepare/*/checkpoint"))
    python = environments.interpreter("quantize", "cpu")
    command = [python, "-c", TINY_QWEN, str(folder), str(tokenizer)]
    subprocess.run(command, cwd=REPOSITORY, env=on_real_engines(), check=True)
    return folder
