"""What a target of deployments is: a small class with a `kind`; callers do not branch on it."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Protocol

from configs.experiment import Experiment
from flows.deploying.candidate import Candidate


@dataclass(frozen=True)
class Deployed:
    """A variant that is deployed. Addresses have no /v1."""

    kind: str
    variant: str
    model: str
    """The name that requests give."""
    url: str
    verified_at: str
    """Where it is verified: an address of its own, as long as another deployment answers at `url`."""
    checkpoint: str
    """Fingerprint of the checkpoint's record."""
    how: str
    """The command that serves it, as a shell takes it."""
    stop: str
    """The command that ends it."""
    log: str
    mark: str
    """What all of its processes carry in their environment."""
    cores: tuple[int, ...]
    """Cores of its compute threads; empty with GPUs."""
    process: int | None = None
    """Id of the process that serves it, on the host that deployed it."""
    application: str | None = None
    """The Ray Serve application that serves it."""
    stood_before: bool = False
    """Whether just this answered at `url` already: then it goes on, also where its verification fails now."""

    @property
    def served_by(self) -> str:
        return f"application {self.application}" if self.application else f"pid {self.process}"


class Text(Protocol):
    """A deployment as text, to be read or started by somebody else."""

    kind: ClassVar[str]

    def as_text(self, candidate: Candidate) -> str:
        """All that somebody else needs to deploy a variant as it was measured."""


class Target(Protocol):
    """Where a variant is deployed to from here."""

    kind: ClassVar[str]
    only_if_applied: ClassVar[bool]
    """Whether it changes what others may share, and therefore needs `--apply` too."""

    def deploying(self, candidate: Candidate) -> AbstractContextManager[Deployed]:
        """A variant that is up and healthy, to be verified inside the block. Where the block ends well, it stays
        and answers at its `url`; where it raises, what answered there before still does, and nothing else.
        """


class ReplaceableTarget(Target, Protocol):
    """A target where a deployment has one address for good: it can be replaced while it answers, and taken away."""

    def delete(self, experiment: Experiment) -> str:
        """End what is deployed of an experiment; return what was done, in words."""
