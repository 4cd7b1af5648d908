"""How a variant is served: the engine settings that are benchmarked and later deployed."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from configs.base import Settings, SoundPath, UserError

OWN_SETTINGS = {
    "dtype": "dtype",
    "enable_prefix_caching": "prefix_caching",
    "enforce_eager": "enforce_eager",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "host": "host",
    "kv_cache_dtype": "kv_cache_dtype",
    "max_model_len": "max_model_len",
    "max_num_seqs": "max_num_seqs",
    "port": "port",
    "speculative_config": "speculative",
    "tensor_parallel_size": "tensor_parallel_size",
}
"""Settings here, by vLLM's argument: what is set twice would be checked once."""
FIXED = {
    **dict.fromkeys(("trust_remote_code", "load_format", "model_impl", "code_revision", "hf_overrides"), "code"),
    **dict.fromkeys(("pt_load_map_location", "model_loader_extra_config", "config_format", "hf_config_path"), "code"),
    **dict.fromkeys(("enable_prompt_embeds", "worker_cls", "worker_extension_cls", "scheduler_cls"), "code"),
    **dict.fromkeys(("logits_processors", "io_processor_plugin", "reasoning_parser_plugin"), "code"),
    **dict.fromkeys(("tool_parser_plugin", "middleware", "model_class_overrides", "additional_config"), "code"),
    **dict.fromkeys(("model", "model_weights", "served_model_name", "tokenizer", "download_dir"), "model"),
    **dict.fromkeys(("revision", "tokenizer_revision", "skip_tokenizer_init", "runner", "convert"), "model"),
    **dict.fromkeys(("distributed_executor_backend", "master_addr", "master_port", "nnodes", "node_rank"), "open"),
    **dict.fromkeys(("data_parallel_address", "data_parallel_rpc_port", "kv_transfer_config"), "open"),
    **dict.fromkeys(("kv_events_config", "ec_transfer_config", "weight_transfer_config", "uds", "root_path"), "open"),
    **dict.fromkeys(("allowed_local_media_path", "allowed_media_domains", "otlp_traces_endpoint"), "open"),
    **dict.fromkeys(("profiler_config", "enable_log_requests", "allowed_origins", "ssl_keyfile"), "open"),
}
"""Arguments of vLLM that an experiment does not set, by what they would undo."""
_WHY_FIXED = {
    "code": "only safetensors are loaded, never code of a model or a plugin",
    "model": "the served model is always the variant's checkpoint",
    "open": "an engine communicates only with its clients",
}
_SECRET = re.compile(r"(^|_)(api_?key|hf_token|token|secret|password)$")
_ARGUMENT = re.compile(r"[a-z][a-z0-9_]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


def api_key() -> str | None:
    """The key that a deployment asks for, and its clients send; None where none is set. Of a file or a secret it may
    have a line end.

    Raises:
        UserError: no header can hold it. It is not repeated.
    """
    key = os.environ.get("VLLM_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError("VLLM_API_KEY: contains a character that is not allowed in a key; set it again")
    return key or None


class Ngram(Settings):
    """Guesses are what followed the last words where they stood in the prompt or the answer before."""

    kind: Literal["ngram"]
    num_speculative_tokens: int = Field(default=4, ge=1, le=1000)
    """Tokens that are guessed at a time."""
    prompt_lookup_max: int = Field(default=4, ge=1, le=1000)
    """The most words, in tokens, that are looked for."""
    prompt_lookup_min: int = Field(default=2, ge=1, le=1000)
    """The fewest."""

    @model_validator(mode="after")
    def _fewest_below_most(self) -> Self:
        if self.prompt_lookup_min > self.prompt_lookup_max:
            raise ValueError(
                f"prompt_lookup_min: {self.prompt_lookup_min} is more than prompt_lookup_max "
                f"{self.prompt_lookup_max}; lower it"
            )
        return self

    @property
    def config(self) -> dict[str, Any]:
        """vLLM's `speculative_config`."""
        return {"method": self.kind, **self.model_dump(mode="json", exclude={"kind"})}


class Draft(Settings):
    """Guesses are those of a small model (`draft_model`), or of weights that were trained beside the model (`eagle`,
    `eagle3`)."""

    kind: Literal["draft_model", "eagle", "eagle3"]
    path: SoundPath
    """The draft's folder, on every node that an engine runs on."""
    num_speculative_tokens: int = Field(default=4, ge=1, le=1000)
    """Tokens that are guessed at a time."""

    @property
    def config(self) -> dict[str, Any]:
        """vLLM's `speculative_config`."""
        return {
            "method": self.kind,
            "model": str(self.path),
            "num_speculative_tokens": self.num_speculative_tokens,
        }


Speculative = Annotated[Ngram | Draft, Field(discriminator="kind")]


class Serving(Settings):
    """vLLM's engine settings."""

    max_model_len: int = Field(default=2048, ge=64, le=100_000_000)
    """Most tokens of a prompt and its answer together."""
    max_num_seqs: int = Field(default=64, ge=1, le=10_000)
    """Most requests in a batch."""
    kv_cache_dtype: Literal["auto", "fp8", "fp8_e4m3", "fp8_e5m2"] = "auto"
    """Data type of the KV cache. FP8 holds twice the tokens; its loss of accuracy differs from model to model."""
    speculative: Speculative | None = None
    """Speculative decoding: tokens are guessed ahead, then checked by the model, several at a time."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Activations and unquantized weights. `auto`: bfloat16, or float32 on a CPU without AVX-512."""
    tensor_parallel_size: int = Field(default=1, ge=1, le=1024)
    """GPUs of one engine."""
    gpu_share: float = Field(default=1, gt=0, le=1)
    """Share of a GPU that one engine holds: with 0.5, two engines run on each, and are benchmarked one after the other.
    `gpu_memory_utilization` sets their memory."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of a GPU's memory that one engine uses, for weights and KV cache."""
    kv_cache_gib: int = Field(default=1, ge=1)
    """GiB of KV cache on a CPU; on a GPU, it is the rest of gpu_memory_utilization."""
    enforce_eager: bool | None = None
    """Eager mode, without compilation. None: on a CPU, where compiled mode gave wrong answers, but not on a GPU."""
    prefix_caching: bool = False
    """Whether prompts share the KV cache of a common beginning. Off, as synthetic prompts have none in common, and the
    prompts of an evaluation do."""
    generation_config: Literal["auto", "vllm"] = "auto"
    """Sampling of requests that do not set it: `auto`, the settings of the model's `generation_config.json`
    (temperature, penalties and the like), which is vLLM's own default, or `vllm`, none of them. It applies under load
    and in a deployment; evaluations and the comparison with the reference always set everything themselves."""
    cores: int | None = Field(default=None, ge=1)
    """CPU cores of one engine; None: an even share of the cores that the clients leave."""
    engine_args: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further arguments of vLLM's engine, by its own names."""
    host: str = "127.0.0.1"
    """Address on which a deployment listens."""
    port: int = Field(default=8000, ge=1, le=65535)
    """Port of a deployment."""
    start_timeout_s: float = Field(default=900, gt=0, le=7 * 86400)
    """Most seconds until a server is up; then, until it has answered the few short texts of its reference."""

    @field_validator("engine_args")
    @classmethod
    def _leaves_what_is_safe(
        cls, arguments: dict[str, str | int | float | bool]
    ) -> dict[str, str | int | float | bool]:
        for name in arguments:
            plain = name.replace("-", "_")
            if _SECRET.search(plain):
                raise ValueError(f"{name:.60}: secrets do not belong in an experiment; use the environment")
            if not _ARGUMENT.fullmatch(name):
                raise ValueError(f"{name!r:.60} is not the name of an argument; write it like max_num_batched_tokens")
            if own := OWN_SETTINGS.get(name):
                raise ValueError(f"{name}: has a setting of its own; use serving.{own}")
            if fixed := FIXED.get(name):
                raise ValueError(f"{name}: is fixed, as {_WHY_FIXED[fixed]}; remove it")
        return arguments

    @field_validator("host")
    @classmethod
    def _closed_or_with_a_key(cls, host: str) -> str:
        try:
            is_loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            is_loopback = host == "localhost"
            if host and not _HOST.fullmatch(host):
                raise ValueError(f"{host!r:.60} is not a host; give an address such as 127.0.0.1") from None
        if not is_loopback and api_key() is None:
            where = host if host not in ("", "0.0.0.0", "::") else "every interface"
            raise ValueError(f"{where}, and no key: set VLLM_API_KEY in the environment, or use 127.0.0.1")
        return host

    @model_validator(mode="after")
    def _share_of_one_gpu(self) -> "Serving":
        if self.gpu_share < 1 and self.tensor_parallel_size > 1:
            raise ValueError(
                f"gpu_share: {self.gpu_share:g} of a GPU, with tensor_parallel_size {self.tensor_parallel_size}; an "
                "engine has either a share of one GPU or several whole GPUs"
            )
        if self.gpu_share < 1 and self.gpu_memory_utilization > self.gpu_share:
            raise ValueError(
                f"gpu_memory_utilization: {self.gpu_memory_utilization:g} is more than the gpu_share of "
                f"{self.gpu_share:g}; the engines on a GPU would take each other's memory: lower it"
            )
        return self

    @property
    def files(self) -> dict[str, Path]:
        """Folders that its engine needs beside the checkpoint, by what they hold."""
        return {"draft": self.speculative.path} if isinstance(self.speculative, Draft) else {}

    @property
    def gpus(self) -> float:
        """GPUs that one engine holds, where it runs on any."""
        return self.tensor_parallel_size * self.gpu_share
