"""Memory estimates against peaks that were measured on one GPU (tests/bench/README.md)."""

import pytest
from pydantic import TypeAdapter
from tests_support import llama_3_1_8b

from configs.schemes import Scheme
from configs.serving import Serving
from flows.planning import memory
from flows.store.checkpoints import Tensor


@pytest.mark.parametrize(("kind", "in_use_gib"), [("fp8-dynamic", 16.91), ("int8-w8a8", 20.31), ("int4-w4a16", 20.60)])
def test_quantizing_estimate_is_near_the_measured_peak(kind: str, in_use_gib: float) -> None:
    scheme = TypeAdapter(Scheme).validate_python({"kind": kind})
    estimate = memory.quantizing_gpu_bytes(llama_3_1_8b(), scheme) / memory.GIB
    assert estimate == pytest.approx(in_use_gib, rel=0.05)


def test_serving_estimate_on_a_cpu_is_within_15_percent_of_what_was_measured() -> None:
    """SmolLM2-135M and compressed forms of it with 1 GiB of KV cache, on two CPUs: bytes (PSS)."""
    layer = {"q": (576, 576), "k": (192, 576), "v": (192, 576), "o": (576, 576)}
    layer |= {"gate": (1536, 576), "up": (1536, 576), "down": (576, 1536)}
    shapes = {f"layers.{i}.{name}.weight": shape for i in range(30) for name, shape in layer.items()}
    tensors = [Tensor(name, "BF16", shape) for name, shape in {**shapes, "embed_tokens.weight": (49152, 576)}.items()]
    int8 = TypeAdapter(Scheme).validate_python({"kind": "int8-w8a8"})
    int4 = TypeAdapter(Scheme).validate_python({"kind": "int4-w4a16", "group_size": 64})
    measured_bytes = {
        "float32": ((None, 4_269_469_696), (int8, 4_157_298_688)),
        "bfloat16": ((None, 4_024_630_272), (int8, 3_842_737_152), (int4, 3_866_760_192)),
    }
    for dtype, scheme, measured in [(dtype, *pair) for dtype, pairs in measured_bytes.items() for pair in pairs]:
        weights = memory.served_bytes(tensors, scheme, dtype)
        assert memory.serving_host_bytes(weights, Serving(), on_cpu=True) == pytest.approx(measured, rel=0.15)
    quantizing = memory.quantizing_host_bytes(tensors, int8, "float32", on_cpu=True)
    assert quantizing == pytest.approx(1_329_152_000, rel=0.15)
    assert memory.compressed_bytes(tensors, int8) == pytest.approx(163_226_688, rel=0.01)


def test_kv_cache_estimate_is_what_vllm_says_of_a_gibibyte() -> None:
    """vLLM's log of SmolLM2-135M in float32: 23,296 tokens in 1 GiB, in whole blocks."""
    shape = {"num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576, "num_hidden_layers": 30}
    longest = Serving(max_model_len=23_296)
    assert memory.longest_request_bytes(shape, longest, "float32") == pytest.approx(memory.GIB, rel=0.001)
    in_fp8 = longest.model_copy(update={"kv_cache_dtype": "fp8"})
    assert memory.longest_request_bytes(shape, in_fp8, "float32") == pytest.approx(memory.GIB / 4, rel=0.001)
