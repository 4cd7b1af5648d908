"""The text that calibration sees."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from configs.base import Settings
from configs.scheme_base import Calibrated, SchemeBase


class LocalText(Settings):
    """A .txt file, or a .jsonl file with a `text` field or a `messages` list on each line.

    Messages are rendered with the model's own chat template.
    """

    kind: Literal["local"]
    path: Path


class HubDataset(Settings):
    """A data set on the Hugging Face hub, read in its own order before the seeded choice."""

    kind: Literal["hub"]
    dataset: str
    subset: str | None = None
    split: str = "train"
    field: str = "text"
    """The column that holds a text, or a list of chat messages."""


class Calibration(Settings):
    """The calibration set: `samples` sequences of `sequence_length` tokens, chosen by `seed`.

    `packed` joins all texts and cuts windows of exactly that length; otherwise each sample is one
    text, cut at that length.
    """

    source: Annotated[LocalText | HubDataset, Field(discriminator="kind")]
    samples: int = Field(default=512, ge=1)
    sequence_length: int = Field(default=1024, ge=8)
    packed: bool = True
    seed: int = 42

    def for_scheme(self, scheme: SchemeBase) -> Self:
        """The set that one scheme sees: with its own number of samples where it gives one."""
        own = scheme.calibration_samples if isinstance(scheme, Calibrated) else None
        return self.model_copy(update={"samples": own or self.samples})
