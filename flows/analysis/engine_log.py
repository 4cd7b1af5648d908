"""What an engine's log says of the time in which it was written. Pure functions.

vLLM compiles while it starts, and tells when it must once more: a kernel that Triton has not built for such a shape
yet, a graph for another range of batch sizes, a tactic that FlashInfer tries. Inside a measured window that is a pause
of the compiler's, which no later request meets.
"""

import re

_COMPILES = re.compile(
    "|".join(
        (
            r"JIT compilation during inference:",  # vllm/utils/jit_monitor.py: Triton, CuTeDSL, TileLang
            r"Triton autotuning for function ",  # triton/runtime/autotuner.py, which vLLM lets print
            r"Dynamo bytecode transform time:",  # vllm/compilation/backends.py
            r"Compiling a graph for compile range ",  # the same, where no cache has it
            r"torch\.compile took ",  # vllm/compilation/monitor.py
            r"Compile and warming up model for size ",  # vllm/v1/worker/gpu_worker.py
            r"Warming up model for the compilation",  # vllm/v1/worker/cpu_model_runner.py
            r"Capturing CUDA graphs \(",  # vllm/v1/worker/gpu_model_runner.py
            r"Graph capturing finished in ",  # the same
            r"\[Autotuner\]: Autotuning process starts",  # flashinfer/autotuner/autotuner.py
            r"^\[\d+/\d+\] \S*(nvcc|c\+\+|g\+\+) ",  # FlashInfer's ninja, if FLASHINFER_JIT_VERBOSE=1
            r"No available shared memory broadcast block found",  # the engine did not step for a minute
        )
    ),
    re.MULTILINE,
)
"""In the words of vLLM 0.29, FlashInfer 0.6.18 and Triton 3.7."""
_GUESSES = re.compile(r"SpecDecoding metrics: .*?Accepted: (\d+) tokens, Drafted: (\d+) tokens")
"""vllm/v1/spec_decode/metrics.py, every ten seconds."""


def compilations(text: str) -> list[str]:
    """The lines that tell of a compilation, an autotuning or a capture of CUDA graphs.

    Args:
        text: what the engine's processes wrote to their logs inside a window.
    """
    return [line.strip() for line in re.split(r"[\n\r]+", text) if _COMPILES.search(line)]


def draft_acceptance(text: str) -> float | None:
    """The share of the guessed tokens that the model accepted; None where the engine guesses none, or said nothing of
    it inside a window.

    Args:
        text: as of `compilations`.
    """
    counted = [(int(accepted), int(drafted)) for accepted, drafted in _GUESSES.findall(text)]
    drafted = sum(guessed for _, guessed in counted)
    return sum(accepted for accepted, _ in counted) / drafted if drafted else None
