"""Memory estimates against peaks that were measured on one GPU (tests/bench/README.md)."""

import pytest
from pydantic import TypeAdapter

from configs.schemes import Scheme
from flows import memory
from flows.checkpoints import Tensor


def llama_3_1_8b() -> list[Tensor]:
    """Every tensor of Llama-3.1-8B."""
    layer = {
        "self_attn.q_proj": (4096, 4096),
        "self_attn.k_proj": (1024, 4096),
        "self_attn.v_proj": (1024, 4096),
        "self_attn.o_proj": (4096, 4096),
        "mlp.gate_proj": (14336, 4096),
        "mlp.up_proj": (14336, 4096),
        "mlp.down_proj": (4096, 14336),
        "input_layernorm": (4096,),
        "post_attention_layernorm": (4096,),
    }
    shapes = {f"model.layers.{i}.{name}.weight": shape for i in range(32) for name, shape in layer.items()}
    shapes |= {
        "model.embed_tokens.weight": (128256, 4096),
        "lm_head.weight": (128256, 4096),
        "model.norm.weight": (4096,),
    }
    return [Tensor(name, "BF16", shape) for name, shape in shapes.items()]


@pytest.mark.parametrize(("kind", "in_use_gib"), [("fp8-dynamic", 16.91), ("int8-w8a8", 20.31), ("int4-w4a16", 20.60)])
def test_quantizing_estimate_is_near_the_measured_peak(kind: str, in_use_gib: float) -> None:
    scheme = TypeAdapter(Scheme).validate_python({"kind": kind})
    estimate = memory.quantizing_gpu_bytes(llama_3_1_8b(), scheme) / memory.GIB
    assert estimate == pytest.approx(in_use_gib, rel=0.05)
