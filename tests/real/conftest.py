"""What the real tests share: one smoke run, with secrets in its environment, and its store; and a tiny random model
made with its tokenizer."""

import subprocess
import tempfile
from pathlib import Path

import canaries
import pytest
from real_support import MAIN, on_real_engines
from tests_support import free_port

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
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, canaries.Watched]:
    """The store after the smoke experiment, and what was seen of the run meanwhile."""
    store = tmp_path_factory.mktemp("smoke")
    command = [*MAIN, "run", "configs/experiments/smoke.yaml", "--set", f"serving.port={free_port()}"]
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as temporary:  # short, for Ray's sockets
        environment = on_real_engines() | canaries.PLANTED | canaries.NOT_USED
        environment |= {"MSF_STORE": str(store), "TMPDIR": temporary}
        running = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        with canaries.watching(running, Path(temporary)) as seen:
            seen.out = running.communicate()[0]
        seen.of_ray += canaries.holders([Path(temporary)], [*canaries.PLANTED.values(), *seen.own])
    assert running.returncode == 0, seen.out[-6000:]
    return store, seen


@pytest.fixture(scope="session")
def smoke_store(smoke: tuple[Path, canaries.Watched]) -> Path:
    """The store after the smoke experiment."""
    return smoke[0]


@pytest.fixture(scope="session")
def tiny_model(smoke_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Qwen2 with the embedded model's tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny-qwen2"
    tokenizer = next(smoke_store.glob("records/prepare/*/checkpoint"))
    python = environments.interpreter("quantize", "cpu")
    command = [python, "-c", TINY_QWEN, str(folder), str(tokenizer)]
    subprocess.run(command, cwd=REPOSITORY, env=on_real_engines(), check=True)
    return folder
