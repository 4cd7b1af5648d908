"""Runs in the inference environment: the reference of a model that asks for a repetition penalty.

    PYTHONPATH=REPOSITORY:REPOSITORY/tests INTERPRETER greedy_reference.py FOLDER

Prints as JSON, for each answer, the log-probability (nats) that it lost to the best token at its worst one; and the
penalty that the model has afterwards.
"""

import json
import sys
from pathlib import Path

import torch
from fakes.record_prompts import checkpoint

from actors.engines import huggingface

model, tokenizer = huggingface.load(checkpoint(Path(sys.argv[1]), "plain", 256), "float32")
lost = []
for one in huggingface.reference(model, tokenizer):
    whole = torch.tensor([one.prompt_ids + one.answer_ids])
    with torch.inference_mode():
        best = torch.log_softmax(model(whole).logits[0, :-1].float(), dim=-1).max(dim=-1).values.tolist()
    start = len(one.prompt_ids)
    lost.append(max(b - own for b, own in zip(best[start - 1 :], one.logprobs[start:], strict=True)))
print(json.dumps({"lost": lost, "penalty": model.generation_config.repetition_penalty}))
