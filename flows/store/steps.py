"""A step: one unit of work on one variant, named by all that its result depends on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic

from flows.store.results import R_co


@dataclass(frozen=True)
class Step(Generic[R_co]):
    """What is to be done, for a result of the type that its kind has (`flows.store.results`): a stage executes these
    settings and looks nowhere else. Where it runs is not part of it, so moving a run redoes nothing."""

    kind: str
    variant: str
    settings: Mapping[str, Any]
    """All that the result depends on, as JSON."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of earlier steps, and digests of files, that this one builds on."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Versions of those that do the work, from the environment's lock."""
    files: Mapping[str, Path] = field(default_factory=dict, compare=False)
    """Where the files and folders lie whose digests are among the inputs, by the input's name."""
    local: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """Settings in full of which the result depends on a part alone, such as where a task's file lies."""

    @property
    def orders(self) -> dict[str, Any]:
        """The settings as they are executed."""
        return {**self.settings, **self.local}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything the fingerprint covers. The variant's name is not in it: two names for the same
        scheme share their work."""
        return {
            "kind": self.kind,
            "settings": json.loads(json.dumps(self.settings)),
            "inputs": dict(self.inputs),
            "libraries": dict(self.libraries),
        }

    @cached_property
    def fingerprint(self) -> str:
        canonical = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
