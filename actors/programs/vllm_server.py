"""vLLM as a process: the command that serves a checkpoint, what it finds in its environment, and what its log tells.

A run, a deployment and the texts for somebody else's service manager all start an engine by these, so that what is
deployed is what was measured. Standard library only: nothing here imports vLLM.
"""

import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from actors import openai_client

QUIET = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
"""No usage statistics, and no request to the hub: all that is served lies in the checkpoint."""
_NEEDED = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "TMPDIR", "CC", "CXX"}
)
_NEEDED_OF = (
    *("MSF_", "LC_", "LD_", "XDG_", "SSL_CERT_", "CUDA_", "NVIDIA_", "NCCL_", "GLOO_", "UCX_"),
    *("VLLM_", "TORCH", "PYTORCH_", "TRITON_", "FLASHINFER_", "HF_HOME", "HF_HUB_", "TRANSFORMERS_", "TOKENIZERS_"),
    *("OMP_", "MKL_", "KMP_", "OPENBLAS_", "MALLOC_", "TCMALLOC_"),
)
"""Environment variables that an engine may have, by their names, and by how these begin."""
KEY = "VLLM_API_KEY"
"""Environment variable with the key that a server asks for, as vLLM itself reads it."""
GUARD = Path(__file__).parent / "guard"
"""The folder that an engine finds the middleware in which asks for the key."""
GUARDED_BY = ("--middleware", "key_guard.KeyGuard")
_POLL_S = 0.5
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class NotStarted(RuntimeError):
    """A server ended before it answered, or took too long; the message has its own last words."""


def command(
    python: Path | str,
    checkpoint: str,
    model: str,
    engine: Mapping[str, Any],
    host: str,
    port: int,
    *,
    guarded: bool = False,
) -> list[str]:
    """`vllm serve` of an environment, as a command.

    Args:
        python: the environment's interpreter.
        checkpoint: the folder with weights and tokenizer.
        model: the name that requests give.
        engine: vLLM's engine arguments.
        guarded: whether it asks for the key that its environment has, with `key_variables`.
    """
    options = arguments(checkpoint, model, engine, host, port, guarded=guarded)
    return [str(python), "-m", "vllm.entrypoints.cli.main", "serve", *options]


def arguments(
    checkpoint: str, model: str, engine: Mapping[str, Any], host: str, port: int, *, guarded: bool = False
) -> list[str]:
    """The arguments of `vllm serve`."""
    where = ["--served-model-name", model, "--host", host, "--port", str(port)]
    return [checkpoint, *where, *served_as(engine), *(GUARDED_BY if guarded else ())]


def served_as(engine: Mapping[str, Any]) -> list[str]:
    """Those arguments that do not depend on a checkpoint and its folder. The server writes no line for each request: at
    hundreds a second that is work, and a disk that fills."""
    return ["--disable-uvicorn-access-log", *as_options(engine)]


def as_options(engine: Mapping[str, Any]) -> list[str]:
    """Engine arguments as vLLM's command line takes them."""
    options = []
    for name, value in engine.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, Mapping):
            options.append(f"--{option}={json.dumps(value)}")
        else:
            options.append(f"--{option}={value}")
    return options


def inherited() -> dict[str, str]:
    """What of this process's environment an engine needs: the machine's, the devices' and vLLM's own. No token,
    password or key of the user's is among them, and nothing of Python's or Ray's, which would lead it to other
    modules, or into a cluster that it is no part of."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != KEY and (name in _NEEDED or name.startswith(_NEEDED_OF))
    }


def key_variables(key: str | None) -> dict[str, str]:
    """Environment variables of an engine that asks for a key on every path but /health; none without a key."""
    return {KEY: key, "PYTHONPATH": str(GUARD)} if key else {}


def variables(cores: tuple[int, ...], kv_cache_gib: int) -> dict[str, str]:
    """Environment variables of an engine on some cores of a machine, or, where there are none, on a GPU.

    Left to itself vLLM keeps one core back, which on two cores leaves one. Even in eager mode it compiles two small
    functions at the first request, and dies of it where there is no C++ compiler; there they are interpreted (0.24 ms
    instead of 0.01 for the log-probability of a token).
    """
    if not cores:
        return QUIET | anywhere(kv_cache_gib, on_cpu=False)
    uncompiled = {} if shutil.which(os.environ.get("CXX", "g++")) else {"TORCHDYNAMO_DISABLE": "1"}
    bound = {"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores))}
    return QUIET | uncompiled | bound | anywhere(kv_cache_gib, on_cpu=True)


def anywhere(kv_cache_gib: int, *, on_cpu: bool) -> dict[str, str]:
    """Those that do not depend on the machine. On a CPU: the size of the KV cache, and 16-bit activations for 4-bit
    weights, which with AMX vLLM would round to 8 bits, as no W4A16 checkpoint asks for (0.38 nats a token were measured
    then, and 0.05 without). On a GPU: vLLM's own sampler, as FlashInfer's is compiled with nvcc at the first start on a
    machine, for 108 s on an H100."""
    if on_cpu:
        return {"VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib), "VLLM_CPU_INT4_W4A8": "0"}
    return {"VLLM_USE_FLASHINFER_SAMPLER": "0"}


def free_port(host: str) -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def address(host: str, port: int) -> str:
    """Where a server answers that listens there, without /v1."""
    reached = _LOOPBACK.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def await_healthy(url: str, log: Path, ended: Callable[[], int | None], timeout_s: float) -> None:
    """Return once a server answers.

    Args:
        ended: the status that its process ended with; None while it runs.

    Raises:
        NotStarted: it ended, or did not answer in time.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (status := ended()) is not None:
            raise NotStarted(f"vllm serve ended with {status}: {last_error(log)}; full output in {log.name}")
        try:
            if openai_client.get(f"{url}/health", patience_s=5)[0] == 200:
                return
        except OSError:
            pass
        time.sleep(_POLL_S)
    raise NotStarted(f"vllm serve was not healthy within {timeout_s:g} s (serving.start_timeout_s); its output: {log}")


def last_error(log: Path) -> str:
    """The last line of a log that names an error, or else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b\w*(Error|Exception)\b.*:|: error:", line)]
    return (errors or lines or ["no output"])[-1][-300:]


def kernels_and_kv_cache(log: str) -> tuple[dict[str, str], int | None]:
    """What vLLM's own log says it uses: kernels by what they serve, none where it names none, and tokens that its KV
    cache holds, None where it does not say."""
    kernels = {served: kernel for kernel, served in re.findall(r"Using (\w*[Kk]ernel\w*) for (\w+)", log)}
    sizes = re.findall(r"KV cache size: ([\d,]+) tokens", log)
    return kernels, int(sizes[-1].replace(",", "")) if sizes else None


def requests_under_way(metrics: str) -> int:
    """Requests that a server runs or queues, by its own metrics page."""
    counted = re.findall(r"^vllm:num_requests_(?:running|waiting)\{.*\} ([\d.e+]+)$", metrics, re.MULTILINE)
    return round(sum(map(float, counted)))
