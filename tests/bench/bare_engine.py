"""`vllm serve` as anybody starts it, with nothing of this project in front of it."""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actors import environments
from actors.placement import processes
from actors.programs import compile_cache, vllm_server
from actors.serving import LOOPBACK, mark_of

MODEL = "bare"
"""The name that requests give."""


@contextlib.contextmanager
def bare_engine(
    checkpoint: Path | str,
    engine: Mapping[str, Any],
    *,
    cores: tuple[int, ...],
    kv_cache_gib: int,
    compiled: Path,
    logs: Path,
    start_timeout_s: float,
) -> Iterator[str]:
    """An engine that answers for the length of the block, at the address that is yielded, without /v1.

    Args:
        engine: vLLM's engine arguments.
        cores: CPU cores that it computes on; empty on a GPU.
        compiled: where graphs and kernels stay that it compiles.
        logs: the folder of its log.
    """
    port, python = vllm_server.free_port(LOOPBACK), environments.interpreter("inference")
    url, log = vllm_server.address(LOOPBACK, port), logs / f"bare-{port}.log"
    command = vllm_server.command(python, str(checkpoint), MODEL, engine, LOOPBACK, port)
    mark = mark_of(f"{MODEL} {port}")
    asked = vllm_server.variables(cores, kv_cache_gib) | compile_cache.prepare(compiled)
    variables = {**vllm_server.inherited(), **asked, processes.LEASE_MARK: mark}
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=variables, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        vllm_server.await_healthy(url, log, process.poll, start_timeout_s)
        if cores:
            processes.keep_off(mark, list(cores))
        yield url
    finally:
        process.terminate()
        processes.end(mark)
