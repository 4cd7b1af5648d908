"""Results as records hold them, one or two of each kind of step, by the version before they had types."""

from typing import Any

GAP = {
    "answers": [{"reference": "Paris.", "served": "Paris"}],
    "limit": 0.12,
    "mean_logprob_difference": 0.0628,
    "seconds": 24.5,
    "worst_decoding_gap": 0.0,
    "worst_greedy_gap": 0.0,
}
SIDE = {
    "points": [{"asked": 1.0, "unit": "streams", "requests": 5, "errors": 0, "output_tokens_per_second": 22.3}],
    "engine_cores": [0],
    "client_cores": [1],
    "deployment": {"kernels": {}, "kv_cache_tokens": 46592, "memory_bytes": 3, "processes": 6, "seconds": 0.1},
    "reference": GAP,
}
MADE = {
    "files": {"model.safetensors": {"bytes": 1, "sha256": "7e"}},
    "peak_host_bytes": 1435328512,
    "reference": [{"answer": "Paris", "answer_ids": [504], "logprobs": [None, -0.5], "prompt_ids": [1]}],
    "seconds": {"reference": 3.4},
    "weight_bytes": 1,
}
TASK = {
    **{"alike": False, "asked": "t", "cut": 0, "documents": 400, "fewshot": 0, "seeds": 1, "split": 0, "unknown": 0},
    "metrics": {"acc": 0.64},
    "scores": [{"filter": "none", "higher_is_better": True, "kind": "mean", "metric": "acc"}],
    "version": 1.0,
}
PROMPTS = {"context_length": 1024, "first_tokens": [], "generation_config_left_out": {}, "system_left_out": False}
CROWD = {"variant": "a", "alone": 60.0, "in_company": 59.0, "loss": 0.02, "limit": 0.05}
WRITTEN: list[tuple[str, dict[str, Any]]] = [
    ("prepare", {**MADE, "wheel": {"name": "llm.whl", "sha256": "bc"}}),
    ("prepare", {**MADE, "folder": "/models/llm", "commit": "0a"}),
    ("quantize", {**MADE, "peak_device_bytes": 0, "calibration_commit": "1b"}),
    ("evaluate", {"tasks": {"t": TASK}, "prompts": PROMPTS, "reference": GAP}),
    ("benchmark", {**SIDE, "base": SIDE, "start": 1.5, "load_s": 3.0, "company": [], "first": "base"}),
    ("benchmark", {**SIDE, "company": ["a", "base"], "interference": CROWD, "block": {"host": "vm", "driver": None}}),
    ("look", {"enough": True, "why": "its accuracy is shown to fail"}),
]
