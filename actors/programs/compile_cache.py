"""Where a node's engines keep what they compile, for all variants and runs, and no more of it than a bound.

A graph that torch.compile made on an H100 takes 22 to 45 s, and 0.2 s where it is there already. Standard library
only.
"""

import contextlib
import shutil
from pathlib import Path

_BOUND_BYTES = 20 << 30
_GRAPHS = "vllm/torch_compile_cache"


def prepare(folder: Path) -> dict[str, str]:
    """The folder with room in it, as the environment variables that lead vLLM, PyTorch, Triton and FlashInfer there."""
    graphs = folder / _GRAPHS
    graphs.mkdir(parents=True, exist_ok=True)
    prune(graphs, _BOUND_BYTES)
    return {
        "VLLM_CACHE_ROOT": str(folder / "vllm"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "FLASHINFER_WORKSPACE_BASE": str(folder / "flashinfer"),
    }


def prune(graphs: Path, most_bytes: int) -> None:
    """Remove the graphs that were used longest ago, until no more than so many bytes are left. What an engine is
    compiling now is the youngest."""
    entries = sorted(map(_age_and_size, graphs.iterdir()), reverse=True)
    total = 0
    for _, size, entry in entries:
        total += size
        if total > most_bytes:
            shutil.rmtree(entry, ignore_errors=True)


def _age_and_size(entry: Path) -> tuple[float, int, Path]:
    """When a file of it was last read or written, and bytes; of one that somebody else is removing, nothing. Folders do
    not count: looking into one is a way of reading it."""
    seen = []
    with contextlib.suppress(OSError):
        seen = [file.stat() for file in entry.rglob("*") if file.is_file()]
    return max((max(one.st_atime, one.st_mtime) for one in seen), default=0), sum(one.st_size for one in seen), entry
