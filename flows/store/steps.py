"""A step: one unit of work on one variant, named by all that its result depends on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Step:
    """What is to be done. Where it runs is not part of it, so moving a run redoes nothing.

    `inputs` are the fingerprints of earlier steps (or digests of files) that this one builds on;
    `libraries` the versions of those that do the work, from the environment's lock.
    """

    kind: str
    variant: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)

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
