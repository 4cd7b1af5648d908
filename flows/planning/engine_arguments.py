"""What vLLM is started with for a variant, and what of it a result depends on."""

from typing import Any

from configs.hardware import Hardware
from configs.serving import Serving


def engine_args(serving: Serving, hardware: Hardware) -> dict[str, Any]:
    """vLLM's engine arguments: what is benchmarked, and what is deployed."""
    arguments: dict[str, Any] = {
        "max_model_len": serving.max_model_len,
        "max_num_seqs": serving.max_num_seqs,
        "dtype": hardware.compute_dtype if serving.dtype == "auto" else serving.dtype,
        "tensor_parallel_size": serving.tensor_parallel_size,
        "enforce_eager": hardware.on_cpu if serving.enforce_eager is None else serving.enforce_eager,
        "enable_prefix_caching": serving.prefix_caching,
        "generation_config": serving.generation_config,
        "trust_remote_code": False,
        "load_format": "safetensors",
    }
    if not hardware.on_cpu:
        arguments["gpu_memory_utilization"] = serving.gpu_memory_utilization
    if serving.kv_cache_dtype != "auto":
        arguments["kv_cache_dtype"] = serving.kv_cache_dtype
    if serving.speculative:
        arguments["speculative_config"] = serving.speculative.config
    return arguments | serving.engine_args


def placeless(arguments: dict[str, Any]) -> dict[str, Any]:
    """Engine arguments without where a draft lies: its content is what counts."""
    draft = {name: value for name, value in arguments.get("speculative_config", {}).items() if name != "model"}
    return {**arguments, "speculative_config": draft} if draft else arguments


def places(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same in full for those who execute them, if they name a place."""
    return {"engine_args": arguments} if arguments != placeless(arguments) else {}
