"""How a variant is deployed on a Ray cluster that goes on after the command."""

from pydantic import Field, model_validator

from configs.base import Settings


class Deploying(Settings):
    """Settings of `deploy --target serve`, apart from the engine's own: those are in `serving`, as benchmarked."""

    replicas: int = Field(default=1, ge=1, le=10_000)
    """Number of engines that are always up."""
    max_replicas: int | None = Field(default=None, ge=1, le=10_000)
    """Most engines, by load; None: always `replicas`."""
    target_ongoing_requests: float | None = Field(default=None, gt=0)
    """Requests in progress on each engine above which another engine is added; None: the batch size of an engine,
    serving.max_num_seqs."""
    drain_s: float = Field(default=600, gt=0, le=7 * 86400)
    """Most seconds for requests in progress to end when an engine is replaced."""
    keep_previous: bool = False
    """Whether replaced engines stay up, for an immediate rollback."""

    @model_validator(mode="after")
    def _a_range(self) -> "Deploying":
        if self.max_replicas is not None and self.max_replicas <= self.replicas:
            raise ValueError(
                f"max_replicas: {self.max_replicas} is not above replicas, {self.replicas}; raise it, or remove "
                "it for a fixed number"
            )
        if self.target_ongoing_requests is not None and self.max_replicas is None:
            raise ValueError("target_ongoing_requests: has no effect without max_replicas; set that too")
        return self

    @property
    def most(self) -> int:
        """Engines at the highest load."""
        return self.max_replicas or self.replicas
