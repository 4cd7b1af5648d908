"""Compilations are distinguished from what else vLLM writes while it serves."""

import pytest

from flows.analysis import engine_log

QUIET = """\
(EngineCore pid=812) INFO [jit_monitor.py:85] Kernel JIT monitor activated; monitored JIT compilations during \
inference will use mode=warn.
(EngineCore pid=812) INFO [backends.py:293] Directly load the compiled graph(s) for compile range (1, 8192) from the \
cache, took 0.214 s
(APIServer pid=640) INFO [backends.py:1095] Using cache directory: /cache for vLLM's torch.compile
(APIServer pid=640) INFO [loggers.py:257] Engine 000: Avg prompt throughput: 812.3 tokens/s, Running: 32 reqs
INFO:     127.0.0.1:51514 - "POST /v1/completions HTTP/1.1" 200 OK
"""


@pytest.mark.parametrize(
    "line",
    [
        "WARNING [jit_monitor.py:108] Triton kernel JIT compilation during inference: _topk_kernel. This causes",
        "WARNING [jit_monitor.py:108] CuTeDSL JIT compilation during inference: mha. This causes a latency spike",
        "Triton autotuning for function matmul_kernel,",
        "INFO [backends.py:394] Compiling a graph for compile range (1, 8192) takes 22.31 s",
        "INFO [monitor.py:48] torch.compile took 31.02 s in total",
        "INFO [gpu_worker.py:778] Compile and warming up model for size 64",
        "INFO [cpu_model_runner.py:150] Warming up model for the compilation...",
        "Capturing CUDA graphs (decode, FULL):  40%|####      | 14/35 [00:01<00:02,  9.80it/s]",
        "INFO [gpu_model_runner.py:7002] Graph capturing finished in 6 secs, took 0.61 GiB",
        "2026-11-27 05:12:09 - INFO - autotuner.py:971 - flashinfer.jit: [Autotuner]: Autotuning process starts ...",
        "[2/5] /usr/local/cuda/bin/nvcc --generate-dependencies-with-compile sampling.cu",
        "INFO [shm_broadcast.py:501] No available shared memory broadcast block found in 60 seconds.",
    ],
)
def test_log_with_a_compilation_gives_its_line(line: str) -> None:
    assert engine_log.compilations(f"{QUIET}{line}\n{QUIET}") == [line]


def test_log_of_an_engine_that_only_serves_gives_nothing() -> None:
    assert engine_log.compilations(QUIET) == []
    assert engine_log.compilations("") == []


def test_progress_bar_that_writes_over_itself_gives_every_state() -> None:
    bar = (
        "\rCapturing CUDA graphs (decode, FULL):   0%|  | 0/35\rCapturing CUDA graphs (decode, FULL): 100%|##| 35/35\n"
    )
    assert len(engine_log.compilations(bar)) == 2


GUESSED = (
    "INFO [metrics.py:101] SpecDecoding metrics: Mean acceptance length: 2.20, Accepted throughput: 12.00 tokens/s, "
    "Drafted throughput: 30.00 tokens/s, Accepted: {} tokens, Drafted: {} tokens, Per-position acceptance rate: 0.6, "
    "0.4, 0.2, Avg Draft acceptance rate: 40.0%\n"
)


def test_share_of_accepted_guesses_is_over_all_lines_of_a_window() -> None:
    text = QUIET + GUESSED.format(30, 100) + QUIET + GUESSED.format(10, 20)
    assert engine_log.draft_acceptance(text) == pytest.approx(40 / 120)
    assert engine_log.draft_acceptance(QUIET) is None
    assert engine_log.draft_acceptance(GUESSED.format(0, 0)) is None
