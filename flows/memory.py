"""What a step needs of memory, from a checkpoint's own shapes.

The figures behind the formulas were measured on an 8B model: tests/bench/README.md.
"""

from configs.schemes import Scheme
from configs.serving import Serving
from flows import checkpoints

GIB = 1 << 30
_BEYOND_TENSORS = 2.2 * GIB
"""What a quantizing GPU holds beside tensors: torch reserves 0.7 to 1.4 GiB more than it allocates, and
0.7 to 0.8 GiB is not torch's."""

ENGINE_OVERHEAD = 3 * GIB
"""Host memory of one engine beside weights and KV cache: server, scheduler and worker together were measured
at 2.9 GiB for a 135M model on a CPU."""


def serving_host_bytes(weight_bytes: int, serving: Serving, *, on_cpu: bool) -> int:
    """Host memory of one engine. On a GPU the weights pass through it once; on a CPU they stay, with the KV cache."""
    return ENGINE_OVERHEAD + weight_bytes + (serving.kv_cache_gib * GIB if on_cpu else 0)


def quantizing_gpu_bytes(tensors: list[checkpoints.Tensor], scheme: Scheme) -> int:
    """Peak GPU memory of quantizing one checkpoint, which lies whole on the GPU.

    Calibration adds, at its widest layer of I inputs and O outputs, four float32 Hessians of I x I
    and two float32 copies of the weight; the number of samples does not matter. Within 2 % of
    what was in use on an H100 for FP8, INT8 and INT4 on Llama-3.1-8B's shapes.
    """
    weights = sum(_elements(tensor) * checkpoints.DTYPE_BYTES[tensor.dtype] for tensor in tensors)
    widest = 0
    if scheme.needs_calibration:
        layers = checkpoints.linear_shapes(tensors, scheme)
        widest = max((4 * 4 * i * i + 2 * 4 * i * o for _, o, i in layers), default=0)
    return int(weights + widest + _BEYOND_TENSORS)


def _elements(tensor: checkpoints.Tensor) -> int:
    count = 1
    for size in tensor.shape:
        count *= size
    return count
