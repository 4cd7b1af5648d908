"""What a place to deploy to is: a small class with a `kind`; callers do not branch on it."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from flows.chosen import Chosen


@dataclass(frozen=True)
class Deployed:
    """A variant that is deployed. `url` has no /v1."""

    kind: str
    variant: str
    model: str
    """The name that requests give."""
    url: str
    checkpoint: str
    """Fingerprint of the checkpoint's record."""
    how: str
    """The command that serves it, as a shell takes it."""
    stop: str
    """The command that ends it."""
    log: str
    process: int
    """Id of the process that serves it, on the host that deployed it."""
    mark: str
    """What all of its processes carry in their environment."""


class Text(Protocol):
    """A deployment as text, to be read or started by somebody else."""

    kind: ClassVar[str]

    def as_text(self, chosen: Chosen) -> str:
        """All that somebody else needs to deploy a variant as it was measured."""


class Target(Text, Protocol):
    """Where a variant is deployed to from here."""

    def start(self, chosen: Chosen) -> Deployed:
        """Deploy a variant, and wait until it is healthy; nothing is left of one that fails."""

    def end(self, deployed: Deployed) -> str:
        """Undo a deployment; return what was done, in words."""
