"""How a variant is served: the engine settings that are benchmarked and later deployed."""

from typing import Literal

from pydantic import Field, model_validator

from configs.base import Settings


class Serving(Settings):
    """vLLM's engine settings, the same for every variant."""

    max_model_len: int = Field(default=2048, ge=64)
    max_num_seqs: int = Field(default=64, ge=1)
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Activations and unquantized weights. `auto`: bfloat16, or float32 on a CPU without AVX-512."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    gpu_share: float = Field(default=1, gt=0, le=1)
    """Share of a GPU that one engine holds: with 0.5 two engines are up on each, and are loaded one after the other.
    How much memory they take there is `gpu_memory_utilization`."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    kv_cache_gib: int = Field(default=1, ge=1)
    """KV cache on a CPU; on a GPU it is what gpu_memory_utilization leaves."""
    enforce_eager: bool | None = None
    """None: eager on a CPU, where compiled mode was seen to answer wrongly; compiled on a GPU."""
    prefix_caching: bool = False
    generation_config: Literal["auto", "vllm"] = "auto"
    """What a request is answered with that does not say how to sample: `auto`, the settings of the model's
    `generation_config.json` (temperature, penalties and the like), as by vLLM's own default, or `vllm`, none of them.
    It holds under load and once deployed; evaluations and the comparison with the reference always say all of it."""
    cores: int | None = Field(default=None, ge=1)
    """CPU cores of one engine; None: an even share of what the clients leave."""
    engine_args: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further arguments of vLLM's engine, by its own names."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    start_timeout_s: float = Field(default=900, gt=0)
    """Seconds in which a server has to come up, and then to answer the few short texts of its reference."""

    @model_validator(mode="after")
    def _share_of_one_gpu(self) -> "Serving":
        if self.gpu_share < 1 and self.tensor_parallel_size > 1:
            raise ValueError(
                f"gpu_share: {self.gpu_share:g} of a GPU, beside tensor_parallel_size {self.tensor_parallel_size}; an "
                "engine has a share of one GPU, or several whole ones"
            )
        if self.gpu_share < 1 and self.gpu_memory_utilization > self.gpu_share:
            raise ValueError(
                f"gpu_memory_utilization: {self.gpu_memory_utilization:g} is more than the gpu_share of "
                f"{self.gpu_share:g}; the engines on a GPU would take each other's memory: lower it"
            )
        return self

    @property
    def gpus(self) -> float:
        """GPUs that one engine holds, where it runs on any."""
        return self.tensor_parallel_size * self.gpu_share
