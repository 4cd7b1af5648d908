"""Where and how a variant is deployed on Kubernetes with KServe."""

from typing import Literal

from pydantic import Field, model_validator

from configs.base import Settings


class KServe(Settings):
    """One InferenceService and its ServingRuntime. The engine's machine requirements are not set here:
    they follow from the checkpoint and from `serving`."""

    namespace: str = Field(default="default", pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    """Namespace of the InferenceService."""
    storage_uri: str = Field(pattern=r"^(pvc|s3|oci)://\S+$")
    """Address of the model for KServe: pvc://CLAIM/..., s3://BUCKET/... or oci://IMAGE. {checkpoint} stands for the
    checkpoint's folder under the store's root, {variant} for the variant's name."""
    image: str = Field(pattern=r"^\S+[:@]\S+$")
    """Image of vLLM's server in the benchmarked version, with its tag or digest."""
    auth: Literal["opendatahub", "api-key", "none"] = "opendatahub"
    """The part that asks for a token: Open Data Hub's proxy (plain KServe ignores that annotation and would answer
    without a token), vLLM itself, or no part."""
    secret: str | None = None
    """With `auth: api-key`, the Kubernetes Secret that holds the token under `token`."""
    service_account: str | None = None
    """Service account with the credentials of an S3 bucket or of a registry."""
    replicas: int = Field(default=1, ge=1)
    """Number of pods."""

    @model_validator(mode="after")
    def _key_is_somewhere(self) -> "KServe":
        if (self.auth == "api-key") != (self.secret is not None):
            raise ValueError(
                f"auth: {self.auth!r} with secret {self.secret!r}; give a secret with auth api-key, and only then"
            )
        return self
