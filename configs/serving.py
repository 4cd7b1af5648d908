"""How a variant is served: the engine settings that are benchmarked and later deployed."""

from typing import Literal

from pydantic import Field

from configs.base import Settings


class Serving(Settings):
    """vLLM's engine settings, the same for every variant."""

    max_model_len: int = Field(default=2048, ge=64)
    max_num_seqs: int = Field(default=64, ge=1)
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Activations and unquantized weights. `auto`: bfloat16, or float32 on a CPU without AVX-512."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    kv_cache_gib: int = Field(default=1, ge=1)
    """KV cache on a CPU; on a GPU it is what gpu_memory_utilization leaves."""
    enforce_eager: bool | None = None
    """None: eager on a CPU, where compiled mode was seen to answer wrongly; compiled on a GPU."""
    prefix_caching: bool = False
    cores: int | None = Field(default=None, ge=1)
    """CPU cores of one engine; None: an even share of what the clients leave."""
    engine_args: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further arguments of vLLM's engine, by its own names."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    start_timeout_s: float = Field(default=900, gt=0)
