"""A checkpoint with the shapes of Llama-3.1-8B and random weights, for measurements of speed where no hub is reached.

What an engine costs depends on a model's shapes, not on what it knows; what such a model answers means nothing. The
tokenizer is a real one, as the load generator makes text of an exact number of its tokens: that of the embedded model,
whose 49,152 words are then the vocabulary. Run with the interpreter of the quantize role, which is at
`python3 actors/environments.py path quantize`; 20 s on an H100:

    PYTHON tests/bench/random_llama.py --tokenizer CHECKPOINT --folder FOLDER [--layers 32]
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES = {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8}
_HEAD = 0.1
"""Of what a head of N(0, 0.02) would say. With all of it FP8 is 0.5 nats a token from its reference, though its
products are as exact as ever: 32 layers that were never trained amplify every rounding. With a tenth the comparison
passes, as that of a trained model does."""
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def write(folder: Path, tokenizer: Path, layers: int) -> None:
    """Weights from N(0, 0.02) in bfloat16, untied embeddings."""
    asked = json.loads((tokenizer / "config.json").read_text())
    rope = {"rope_type": "default", "rope_theta": 500000.0}
    config = LlamaConfig(
        **SHAPES,
        num_hidden_layers=layers,
        vocab_size=asked["vocab_size"],
        bos_token_id=asked["bos_token_id"],
        eos_token_id=asked["eos_token_id"],
        max_position_embeddings=8192,
        initializer_range=0.02,
        rope_parameters=rope,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight *= _HEAD
    model.save_pretrained(folder, max_shard_size="4GB")
    for name in TOKENIZER:
        if (tokenizer / name).is_file():
            shutil.copy(tokenizer / name, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=32)
    options = parser.parse_args()
    write(options.folder, options.tokenizer, options.layers)
