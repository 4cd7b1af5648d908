"""What the machines that serve can do, as far as a scheme or an engine setting depends on it."""

from configs.base import Settings


class Hardware(Settings):
    """One kind of node. Plain values, so that a plan can be judged without touching a device."""

    accelerator: str
    """`cpu` or `cuda`."""
    name: str
    cores: int
    memory_bytes: int
    gpus: int = 0
    gpu_memory_bytes: int = 0
    compute_capability: float = 0.0
    """CUDA compute capability, 8.9 for Ada; 0 without a GPU."""
    instructions: tuple[str, ...] = ()
    """CPU instruction sets that kernels ask for, by the kernel's names for them, such as avx512f."""

    @property
    def on_cpu(self) -> bool:
        return self.accelerator == "cpu"

    @property
    def has_vnni(self) -> bool:
        """Whether a CPU multiplies 8-bit integers into 32-bit sums without overflow on the way."""
        return bool({"avx512_vnni", "avx_vnni", "amx_int8"} & set(self.instructions))

    @property
    def compute_dtype(self) -> str:
        """The dtype that `auto` means here.

        A CPU without AVX-512 has no bfloat16 arithmetic: PyTorch's bfloat16 matrix product ran at 12
        against 85 GFLOP/s in float32 on such a machine (2 cores, AVX2), so float32 is used there.
        """
        if self.on_cpu and "avx512f" not in self.instructions:
            return "float32"
        return "bfloat16"
