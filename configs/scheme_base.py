"""What schemes have in common, whatever their kind."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from configs.base import LONGEST_NAME, Settings
from configs.hardware import Hardware

Recipe = dict[str, dict[str, dict[str, dict[str, Any]]]]

WEIGHT_MODIFIERS = {
    "gptq": ("GPTQModifier",),
    "awq": ("AWQModifier", "QuantizationModifier"),
    "rtn": ("QuantizationModifier",),
}
"""Modifiers by algorithm, the one that quantizes last; AWQ alone only scales channels."""


@dataclass(frozen=True)
class Tag:
    """What stands before a field's value in the name of a swept scheme, such as `g` in g64.

    A field without one is called by its own name.
    """

    prefix: str


class SchemeBase(Settings):
    """The settings of a scheme of any kind, and what follows from them."""

    name: str = Field(default="", pattern=r"^[a-z0-9][a-z0-9._-]*$|^$", max_length=LONGEST_NAME)
    """Name of the variant; empty: made from the kind and the settings that differ from its defaults."""
    ignore: tuple[str, ...] = ("lm_head",)
    """Layers to leave unchanged: exact names, or regular expressions after `re:`."""

    @model_validator(mode="before")
    @classmethod
    def _named_after_its_kind(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("name"):
            return {**values, "name": values.get("kind", "")}
        return values

    @property
    def bare(self) -> Self:
        """The scheme without its name and without settings that change nothing: equal for two schemes
        that make the same checkpoint."""
        return self.model_copy(update={"name": ""})

    @property
    def needs_calibration(self) -> bool:
        return False

    @property
    def weights_per_scale(self) -> int | None:
        """Weights that share one scale, along a layer's input; None for a scale per channel."""
        return None

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per quantized weight, scales included."""
        raise NotImplementedError

    @property
    def logprob_limit(self) -> float:
        """Largest mean |served - reference| of token log-probabilities, in nats.

        Both sides run the same quantized weights, so only kernels differ. Where activations are
        quantized too, the last bits of a sum decide how they round, and a small model multiplies
        that: 0.21 was measured for a sound kernel (135M, INT8 without SmoothQuant), 0.45 for a
        broken one; 0.000 for unquantized activations.
        """
        return 0.10

    def recipe(self) -> Recipe:
        """The llm-compressor recipe, as plain data."""
        raise NotImplementedError

    @property
    def declared_weight_bits(self) -> int | None:
        """Bits that the checkpoint says its weights have, where the recipe quantizes to fewer."""
        return None

    def resolved_for(self, hardware: Hardware) -> Self:
        """The scheme with every setting that hardware decides filled in."""
        return self

    def cannot_be_served_on(self, hardware: Hardware) -> str | None:
        """Why no vLLM kernel on this hardware serves the scheme, or None where one does."""
        return None

    def why_slower_on(self, hardware: Hardware) -> str | None:
        """What costs speed where this scheme turns out slower than the base there; None where nothing is known."""
        return None

    def _preset(self, name: str) -> Recipe:
        """Plain rounding to a scheme that llm-compressor knows by name."""
        return self._stage(QuantizationModifier={"targets": ["Linear"], "scheme": name, "ignore": list(self.ignore)})

    def _stage(self, **modifiers: dict[str, Any]) -> Recipe:
        return {"quantize_stage": {"quantize_modifiers": modifiers}}


class Calibrated(SchemeBase):
    """A scheme that looks at text, at least with some of its settings."""

    calibration_samples: Annotated[int | None, Tag("cal")] = Field(default=None, ge=1, le=10_000_000)
    """Number of sequences of the calibration set; None: as in the experiment's `calibration`."""

    @property
    def bare(self) -> Self:
        bare = super().bare
        return bare if self.needs_calibration else bare.model_copy(update={"calibration_samples": None})


class WeightOnly(SchemeBase):
    """A scheme that leaves activations at 16 bits."""

    def why_slower_on(self, hardware: Hardware) -> str | None:
        return (
            "its weights are unpacked to 16 bits for every product: this saves memory traffic, which helps with "
            "few requests, but costs arithmetic, which hurts with many requests or on a slow processor"
        )

    def _integers(self, algorithm: str, *, bits: int, group: int | None, symmetric: bool) -> Recipe:
        """Integer weights with a scale for each group, or for each channel without one."""
        weights: dict[str, Any] = {"num_bits": bits, "type": "int", "symmetric": symmetric}
        weights |= {"strategy": "group", "group_size": group} if group else {"strategy": "channel"}
        *before, quantizer = WEIGHT_MODIFIERS[algorithm]
        groups = {"weights": {"targets": ["Linear"], "weights": weights}}
        return self._stage(
            **{name: {} for name in before}, **{quantizer: {"ignore": list(self.ignore), "config_groups": groups}}
        )
