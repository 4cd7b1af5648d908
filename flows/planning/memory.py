"""What a step needs of memory, from a checkpoint's own shapes.

The figures behind the formulas were measured on an 8B model: tests/bench/README.md.
"""

import math
from typing import Any

from configs.schemes import Scheme
from configs.serving import Serving
from flows.store import checkpoints

GIB = 1 << 30
_BEYOND_TENSORS = 2.2 * GIB
"""What a quantizing GPU holds beside tensors: torch reserves 0.7 to 1.4 GiB more than it allocates, and
0.7 to 0.8 GiB is not torch's."""

ENGINE_OVERHEAD = int(2.9 * GIB)
"""Host memory of one engine beside weights and KV cache: server, scheduler and worker together. For a 135M model
on a CPU 2.9 GiB were measured alone, 2.4 to 2.7 beside a second engine, which shares the libraries' pages
(tests/bench/README.md). A limit is made of it too (`flows.deploying.kserve`), so it is the largest."""

_QUANTIZER = int(0.6 * GIB)
"""Host memory of a quantizer beside tensors: torch, transformers and llm-compressor."""
_SAVING = {False: int(1.2 * GIB), True: int(3.3 * GIB)}
"""What saving from a GPU needs of the host beside the compressed weights, without and with calibration, at its
most (tests/bench/README.md)."""
_ELEMENT_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}


def compressed_bytes(tensors: list[checkpoints.Tensor], scheme: Scheme) -> int:
    """Size of a scheme's checkpoint. Scales of whole channels are left out: less than a thousandth."""
    quantized, rest = _split(tensors, scheme)
    return int(quantized * scheme.bits_per_weight / 8) + rest


def served_bytes(tensors: list[checkpoints.Tensor], scheme: Scheme | None, dtype: str) -> int:
    """Weights in an engine's memory, where what is not quantized has the dtype that is computed in."""
    quantized, _ = _split(tensors, scheme)
    rest = sum(elements(tensor) for tensor in tensors) - quantized
    bits = scheme.bits_per_weight if scheme else 0
    return int(quantized * bits / 8) + rest * _ELEMENT_BYTES[dtype]


def serving_host_bytes(weight_bytes: int, serving: Serving, *, on_cpu: bool) -> int:
    """Host memory of one engine. On a GPU the weights pass through it once; on a CPU they stay, with the KV cache."""
    return ENGINE_OVERHEAD + weight_bytes + (serving.kv_cache_gib * GIB if on_cpu else 0)


def quantizing_gpu_bytes(tensors: list[checkpoints.Tensor], scheme: Scheme) -> int:
    """Peak GPU memory of quantizing one checkpoint, which lies whole on the GPU.

    The number of samples does not matter. Within 2 % of what was in use on an H100 for FP8, INT8 and INT4 on
    Llama-3.1-8B's shapes.
    """
    return int(sum(map(_stored, tensors)) + _widest(tensors, scheme) + _BEYOND_TENSORS)


def quantizing_host_bytes(tensors: list[checkpoints.Tensor], scheme: Scheme, dtype: str, *, on_cpu: bool) -> int:
    """Peak host memory of quantizing one checkpoint. On a CPU the model lies there in the dtype that is computed in,
    with what GPTQ needs at its widest layer, and the compressed copy that is saved; from a GPU only that copy."""
    saved = compressed_bytes(tensors, scheme)
    if not on_cpu:
        return saved + _SAVING[scheme.needs_calibration]
    model = sum(elements(tensor) for tensor in tensors) * _ELEMENT_BYTES[dtype]
    return _QUANTIZER + model + _widest(tensors, scheme) + saved


def serving_gpu_bytes(weight_bytes: int, longest_request_bytes: int) -> int:
    """What an engine cannot do without on its GPUs: weights, and the KV cache of one request of the greatest length.
    What gpu_memory_utilization leaves beyond that becomes KV cache too."""
    return weight_bytes + longest_request_bytes


def longest_request_bytes(settings: dict[str, Any], serving: Serving, dtype: str) -> int | None:
    """KV cache of a request of the greatest length, from a model's config.json: keys and values of every layer and KV
    head. None where it does not say how they are shaped (or shapes them otherwise, as multi-head latent attention
    does).

    Args:
        dtype: that is computed in, which the cache has unless it has one of its own.
    """
    try:
        heads = settings["num_attention_heads"]
        size = settings.get("head_dim") or settings["hidden_size"] // heads
        cached = settings["num_hidden_layers"] * (settings.get("num_key_value_heads") or heads) * size
    except (KeyError, TypeError):
        return None
    if settings.get("kv_lora_rank"):
        return None
    kept = dtype if serving.kv_cache_dtype == "auto" else serving.kv_cache_dtype
    return int(2 * cached * serving.max_model_len * _ELEMENT_BYTES[kept])


def _split(tensors: list[checkpoints.Tensor], scheme: Scheme | None) -> tuple[int, int]:
    """Elements that a scheme quantizes, and bytes of all others as they are stored."""
    names = {name for name, _, _ in checkpoints.linear_shapes(tensors, scheme)} if scheme else set()
    quantized = [tensor for tensor in tensors if tensor.name.removesuffix(".weight") in names]
    rest = sum(_stored(tensor) for tensor in tensors) - sum(map(_stored, quantized))
    return sum(map(elements, quantized)), rest


def _stored(tensor: checkpoints.Tensor) -> int:
    return elements(tensor) * checkpoints.DTYPE_BYTES[tensor.dtype]


def _widest(tensors: list[checkpoints.Tensor], scheme: Scheme) -> int:
    """What calibration adds at the widest layer of I inputs and O outputs: four float32 Hessians of I x I and two
    float32 copies of the weight."""
    if not scheme.needs_calibration:
        return 0
    layers = checkpoints.linear_shapes(tensors, scheme)
    return max((4 * 4 * i * i + 2 * 4 * i * o for _, o, i in layers), default=0)


def elements(tensor: checkpoints.Tensor) -> int:
    """How many numbers it holds."""
    return math.prod(tensor.shape)
