"""The ways to compress a model.

A scheme is a type with a `kind`. It knows its own llm-compressor recipe (as plain data, so that
nothing heavy is imported here), whether it needs calibration, what it does to the size of a weight
and which hardware can serve it. Nobody else branches on the kind.

Compute capabilities are those that vLLM 0.29 asks for (`get_min_capability` of the classes in
`compressed_tensors/schemes`, and the kernels that those choose from) and that NVIDIA's tensor cores have by the
CUDA C++ programming guide: INT8 from 7.5 (Turing), FP8 from 8.9 (Ada), FP4 from 10.0 (Blackwell).
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field

from configs import recipes, yaml_files
from configs.base import SoundPath
from configs.hardware import Hardware
from configs.scheme_base import WEIGHT_MODIFIERS, Calibrated, Recipe, SchemeBase, Tag, WeightOnly


class Fp8Dynamic(SchemeBase):
    """FP8 weights (per channel) and activations (per token, scaled at run time); no calibration."""

    kind: Literal["fp8-dynamic"]

    @property
    def bits_per_weight(self) -> float:
        return 8.0

    @property
    def logprob_limit(self) -> float:
        return 0.35

    def recipe(self) -> Recipe:
        return self._preset("FP8_DYNAMIC")

    def cannot_be_served_on(self, hardware: Hardware) -> str | None:
        if hardware.on_cpu and "avx512f" not in hardware.instructions:
            return "vLLM's FP8 kernel for CPUs needs AVX-512, which this CPU lacks"
        # PyTorch converts FP8 to 32 bits where a CPU has no AMX (ten times slower than 16 bits); with it oneDNN
        # multiplies, whose FP8 code for AMX needs AMX-FP16: one weight of 576x1536 and 40 tokens took its
        # reference code 2.2 s, and 16 bits 0.6 ms (torch 2.13, oneDNN 3.12).
        if hardware.on_cpu and "amx_int8" in hardware.instructions and "amx_fp16" not in hardware.instructions:
            return "FP8 runs in oneDNN's reference code on a CPU with AMX but without AMX-FP16: minutes a prompt"
        if not hardware.on_cpu and hardware.compute_capability < 7.5:
            return f"FP8 weights need compute capability 7.5 or later, this GPU has {hardware.compute_capability}"
        return None

    def why_slower_on(self, hardware: Hardware) -> str | None:
        if hardware.on_cpu:
            return "no CPU multiplies in FP8: every weight is converted first"
        if hardware.compute_capability < 8.9:
            return (
                f"FP8 arithmetic needs compute capability 8.9, this GPU has {hardware.compute_capability}: vLLM "
                "unpacks the weights to 16 bits for every product (Marlin)"
            )
        return None


class Int8W8A8(Calibrated):
    """INT8 weights (per channel) and activations (per token).

    SmoothQuant (Xiao et al. 2023, eq. 4; `smoothquant` is its alpha) moves outliers from activations
    to weights first; GPTQ (Frantar et al. 2023, alg. 1) then chooses the weights layer by layer.
    """

    kind: Literal["int8-w8a8"]
    algorithm: Annotated[Literal["gptq", "rtn"], Tag("")] = "gptq"
    """Rounding of weights: GPTQ (Frantar et al. 2023), or to the nearest (`rtn`)."""
    smoothquant: Annotated[float | None, Tag("sq")] = Field(default=0.8, ge=0.0, le=1.0)
    """Share of the activations' outliers that moves into the weights (Xiao et al. 2023), 0 to 1; None: none."""
    reduce_range: bool | None = None
    """Weights in 7 of the 8 bits. A CPU without VNNI adds pairs of 8-bit products in 16 bits, which
    overflow: oneDNN's result was 2 to 5 % off there, and exact with 7-bit weights (AVX2, measured).
    None: only if such a CPU serves. ONNX Runtime and PyTorch use the same name."""

    @property
    def needs_calibration(self) -> bool:
        return self.algorithm == "gptq" or self.smoothquant is not None

    @property
    def bits_per_weight(self) -> float:
        return 8.0

    @property
    def logprob_limit(self) -> float:
        return 0.35

    def recipe(self) -> Recipe:
        modifiers: dict[str, dict[str, Any]] = {}
        if self.smoothquant is not None:
            modifiers["SmoothQuantModifier"] = {"smoothing_strength": self.smoothquant}
        weights = {
            "num_bits": 7 if self.reduce_range else 8,
            "type": "int",
            "symmetric": True,
            "strategy": "channel",
        }
        activations = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
        modifiers[WEIGHT_MODIFIERS[self.algorithm][-1]] = {
            "ignore": list(self.ignore),
            "config_groups": {"linear": {"targets": ["Linear"], "weights": weights, "input_activations": activations}},
        }
        return self._stage(**modifiers)

    @property
    def declared_weight_bits(self) -> int | None:
        return 8 if self.reduce_range else None

    def resolved_for(self, hardware: Hardware) -> Self:
        if self.reduce_range is not None:
            return self
        return self.model_copy(update={"reduce_range": hardware.on_cpu and not hardware.has_vnni})

    def cannot_be_served_on(self, hardware: Hardware) -> str | None:
        if not hardware.on_cpu and hardware.compute_capability < 7.5:
            return f"INT8 arithmetic needs compute capability 7.5 or later, this GPU has {hardware.compute_capability}"
        return None

    def why_slower_on(self, hardware: Hardware) -> str | None:
        if hardware.on_cpu and not hardware.has_vnni:
            return "this CPU has no VNNI, so 8-bit products take more steps than float32 ones"
        return None


class Int4W4A16(WeightOnly, Calibrated):
    """INT4 weights in groups, 16-bit activations, by GPTQ, AWQ (Lin et al. 2024) or plain rounding."""

    kind: Literal["int4-w4a16"]
    algorithm: Annotated[Literal["gptq", "awq", "rtn"], Tag("")] = "gptq"
    """GPTQ, AWQ, or rounding to the nearest (`rtn`)."""
    group_size: Annotated[int, Tag("g")] = Field(default=128, ge=16)
    """Weights that share a scale."""
    symmetric: Annotated[bool, Tag("sym")] = True
    """Whether a group has no zero point beside its scale."""

    @property
    def needs_calibration(self) -> bool:
        return self.algorithm != "rtn"

    @property
    def weights_per_scale(self) -> int:
        return self.group_size

    @property
    def bits_per_weight(self) -> float:
        return 4.0 + (16.0 if self.symmetric else 20.0) / self.group_size

    def recipe(self) -> Recipe:
        return self._integers(self.algorithm, bits=4, group=self.group_size, symmetric=self.symmetric)

    def cannot_be_served_on(self, hardware: Hardware) -> str | None:
        if hardware.on_cpu and "avx512f" not in hardware.instructions:
            return "vLLM's 4-bit kernel for CPUs needs AVX-512, which this CPU lacks"
        if hardware.on_cpu and self.group_size % 2:
            return f"vLLM's 4-bit kernel for CPUs needs an even group_size, not {self.group_size}"
        if not hardware.on_cpu and hardware.compute_capability < 7.5:
            return f"4-bit kernels need compute capability 7.5 or later, this GPU has {hardware.compute_capability}"
        return None


class W8A16(WeightOnly, Calibrated):
    """INT8 weights, 16-bit activations; a scale per channel, or per group where one is given."""

    kind: Literal["w8a16"]
    algorithm: Annotated[Literal["gptq", "rtn"], Tag("")] = "gptq"
    """GPTQ, or rounding to the nearest (`rtn`)."""
    group_size: Annotated[int | None, Tag("g")] = Field(default=None, ge=16)
    """Weights that share a scale; None: a whole output channel."""

    @property
    def needs_calibration(self) -> bool:
        return self.algorithm != "rtn"

    @property
    def weights_per_scale(self) -> int | None:
        return self.group_size

    @property
    def bits_per_weight(self) -> float:
        return 8.0 + (16.0 / self.group_size if self.group_size else 0.0)

    def recipe(self) -> Recipe:
        return self._integers(self.algorithm, bits=8, group=self.group_size, symmetric=True)

    def cannot_be_served_on(self, hardware: Hardware) -> str | None:
        if hardware.on_cpu:
            return "vLLM has no kernel for 8-bit weights with 16-bit activations on a CPU"
        if hardware.compute_capability < 7.5:
            return f"its kernels need compute capability 7.5 or later, this GPU has {hardware.compute_capability}"
        return None


class Nvfp4A16(WeightOnly):
    """NVFP4 weights (4-bit floats in groups of 16, FP8 scales), 16-bit activations; no calibration."""

    kind: Literal["nvfp4a16"]

    @property
    def weights_per_scale(self) -> int:
        return 16

    @property
    def bits_per_weight(self) -> float:
        return 4.0 + 8.0 / 16

    def recipe(self) -> Recipe:
        return self._preset("NVFP4A16")

    def cannot_be_served_on(self, hardware: Hardware) -> str | None:
        if hardware.on_cpu:
            return "vLLM has no NVFP4 kernel for CPUs"
        if hardware.compute_capability < 8.0:
            return f"NVFP4 weights need compute capability 8.0 or later, this GPU has {hardware.compute_capability}"
        return None

    def why_slower_on(self, hardware: Hardware) -> str | None:
        if hardware.compute_capability < 10.0:
            return (
                "FP4 arithmetic needs compute capability 10.0 (Blackwell), this GPU has "
                f"{hardware.compute_capability}: it saves memory, but {super().why_slower_on(hardware)}"
            )
        return super().why_slower_on(hardware)


class RecipeFile(Calibrated):
    """An llm-compressor recipe file of listed modifiers (`configs.recipes`); its author must know its effect on
    size and hardware."""

    kind: Literal["recipe"]
    path: Annotated[SoundPath, Tag("")]
    """An llm-compressor recipe in YAML."""
    calibrated: bool = True
    """Whether it needs the calibration set."""
    weight_bits: float = Field(default=16.0, gt=0, le=32)
    """Bits of a quantized weight, for the sizes in `plan`."""
    logprob_tolerance: float = Field(default=0.35, gt=0)
    """Value of `logprob_limit`; the default is that of the loosest kind, INT8 activations: 0.32 was measured
    for a sound one (135M, plain rounding, one layer left out, bfloat16)."""

    @property
    def needs_calibration(self) -> bool:
        return self.calibrated

    @property
    def bits_per_weight(self) -> float:
        return self.weight_bits

    @property
    def logprob_limit(self) -> float:
        return self.logprob_tolerance

    def recipe(self) -> Recipe:
        """What the file holds.

        Raises:
            Malformed: it is no recipe, or holds what a recipe may not.
        """
        return recipes.checked(yaml_files.read(self.path))


_Kind = Fp8Dynamic | Int8W8A8 | Int4W4A16 | W8A16 | Nvfp4A16 | RecipeFile
Scheme = Annotated[_Kind, Field(discriminator="kind")]
KINDS: dict[str, type[_Kind]] = {get_args(kind.model_fields["kind"].annotation)[0]: kind for kind in get_args(_Kind)}
"""Every kind of scheme by its name."""
