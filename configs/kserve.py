"""Where and how a variant is deployed on Kubernetes with KServe."""

from typing import Literal

from pydantic import Field, model_validator

from configs.base import Settings


class KServe(Settings):
    """One InferenceService and its ServingRuntime. What the engine needs of the machine is not set here: it
    follows from the checkpoint and from `serving`."""

    namespace: str = Field(default="default", pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    """Of the InferenceService."""
    storage_uri: str = Field(pattern=r"^(pvc|s3|oci)://\S+$")
    """Where KServe reads the model: pvc://CLAIM/..., s3://BUCKET/... or oci://IMAGE. {checkpoint} stands for the
    checkpoint's folder under the store's root, {variant} for the variant's name."""
    image: str = Field(pattern=r"^\S+[:@]\S+$")
    """vLLM's server, of the version that was benchmarked, with its tag or digest."""
    auth: Literal["opendatahub", "api-key", "none"] = "opendatahub"
    """Who asks for a token: Open Data Hub's proxy (plain KServe knows nothing of that annotation, and would
    answer everybody), vLLM itself, or nobody."""
    secret: str | None = None
    """With `auth: api-key`, the Kubernetes Secret that holds the token under `token`."""
    service_account: str | None = None
    """That holds the credentials of an S3 bucket or of a registry."""
    replicas: int = Field(default=1, ge=1)
    """Pods."""

    @model_validator(mode="after")
    def _key_is_somewhere(self) -> "KServe":
        if (self.auth == "api-key") != (self.secret is not None):
            raise ValueError(
                f"auth: {self.auth!r} with secret {self.secret!r}; give a secret with api-key, and only there"
            )
        return self
