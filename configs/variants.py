"""A variant: a checkpoint served in a way. What it does not say is as for the base."""

from typing import Annotated, Any, Self

from pydantic import Field, FieldSerializationInfo, ValidationError, field_serializer, field_validator, model_validator

from configs.base import LONGEST_NAME, Settings
from configs.model import HubModel, MlflowModel, PathModel
from configs.schemes import Scheme
from configs.serving import Serving

_OF_ALL = {
    **dict.fromkeys(("host", "port"), "where a deployment listens is no part of a variant"),
    "gpu_share": "engines of all variants have the same share of a GPU",
    "cores": "engines of all variants have as many cores",
    "start_timeout_s": "it holds for every engine",
}
"""Settings of `serving` that a variant does not change, and why."""
Source = Annotated[HubModel | PathModel | MlflowModel, Field(discriminator="kind")]
"""Where a checkpoint comes from that is not made here."""


class Variant(Settings):
    """A checkpoint served in a way; what it leaves out is as for the base."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=LONGEST_NAME)
    """Of its folder, its rows in the report and, once deployed, its model."""
    scheme: Scheme | None = None
    """How the base model is compressed for it."""
    checkpoint: Source | None = None
    """A checkpoint that is there already: compressed by anybody, or simply another model. Neither this nor a `scheme`:
    the base model itself, served in another way."""
    another_model: bool = False
    """Whether `checkpoint` may be another model than the base, by its architecture, its tokenizer or its chat template;
    else that is refused. Documents are compared in pairs all the same."""
    serving: Serving = Serving()
    """What differs from the experiment's `serving`; of `engine_args`, single arguments."""

    price_per_hour: float | None = Field(default=None, gt=0)
    """Price of the devices of one of its engines; None: that of the base's (`decision.price_per_hour`), times as many
    GPUs as it has more."""

    @model_validator(mode="after")
    def _made_in_one_way(self) -> Self:
        if self.scheme and self.checkpoint:
            raise ValueError("has a `scheme` and a `checkpoint`; a checkpoint that is there is not compressed again")
        if not (self.scheme or self.checkpoint or self.serving.model_fields_set):
            raise ValueError("is the base itself; give it a `scheme`, a `checkpoint` or other `serving` settings")
        return self

    @field_validator("serving")
    @classmethod
    def _settings_of_an_engine(cls, serving: Serving) -> Serving:
        for name in serving.model_fields_set & _OF_ALL.keys():
            raise ValueError(f"{name}: {_OF_ALL[name]}; set it in the experiment's `serving`")
        return serving

    @field_serializer("serving")
    def _as_given(self, serving: Serving, info: FieldSerializationInfo) -> dict[str, Any]:
        """What it gives, so that an experiment that is written down and read again says the same."""
        return serving.model_dump(mode=info.mode, exclude_unset=True)

    def priced(self, base: float | None, serving: Serving) -> float | None:
        """Price per hour of one of its engines; None where none is known.

        Args:
            base: that of the base's.
            serving: how the base is served.
        """
        if self.price_per_hour is not None or base is None:
            return self.price_per_hour
        return base * self.served(serving).gpus / serving.gpus

    @property
    def changes(self) -> dict[str, Any]:
        """The settings of `serving` that it gives."""
        return {name: getattr(self.serving, name) for name in sorted(self.serving.model_fields_set)}

    def served(self, serving: Serving) -> Serving:
        """How it is served in an experiment that serves its base in some way.

        Raises:
            ValueError: its settings contradict the base's.
        """
        changes = self.changes
        if "engine_args" in changes:
            changes["engine_args"] = {**serving.engine_args, **changes["engine_args"]}
        try:
            return Serving.model_validate({**serving.model_dump(), **changes})
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"serving of {self.name!r}, beside the experiment's: {reason}") from None
