"""How a variant is deployed on a Ray cluster that goes on after the command."""

from pydantic import Field, model_validator

from configs.base import Settings


class Deploying(Settings):
    """For `deploy --target serve`. The engine's own settings are not among them: they are those of `serving`, as
    they were benchmarked."""

    replicas: int = Field(default=1, ge=1, le=10_000)
    """Engines that are always up."""
    max_replicas: int | None = Field(default=None, ge=1, le=10_000)
    """Up to so many by load; None: always `replicas`."""
    target_ongoing_requests: float | None = Field(default=None, gt=0)
    """Requests under way on each engine that another one is added for; None: as many as one engine takes into a
    batch, serving.max_num_seqs."""
    drain_s: float = Field(default=600, gt=0, le=7 * 86400)
    """What requests that are under way get to end when an engine is replaced."""
    keep_previous: bool = False
    """Whether the engines that were replaced stay up, for a rollback that waits for nothing."""

    @model_validator(mode="after")
    def _a_range(self) -> "Deploying":
        if self.max_replicas is not None and self.max_replicas <= self.replicas:
            raise ValueError(
                f"max_replicas: {self.max_replicas} leaves no room above replicas, {self.replicas}; raise it, or leave "
                "it out for a fixed number"
            )
        if self.target_ongoing_requests is not None and self.max_replicas is None:
            raise ValueError("target_ongoing_requests: nothing is scaled by it without max_replicas; give that too")
        return self

    @property
    def most(self) -> int:
        """Engines at the highest load."""
        return self.max_replicas or self.replicas
