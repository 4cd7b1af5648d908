"""What went wrong with a variant, in a word and a reason, and whether trying again may help."""

from dataclasses import dataclass
from typing import Literal

import ray

from actors.files.digests import Damaged
from actors.placement.lease import Infeasible
from flows.runtime.errors import StepFailed, TimedOut

Kind = Literal["infeasible", "out of memory", "crashed", "timed out", "rejected"]
_EXPECTED = (ray.exceptions.RayError, StepFailed, Damaged, Infeasible, OSError, RuntimeError)
"""Whatever an engine, a device or the cluster does; anything else is a mistake of this program."""
_OF_A_LOST_NODE = {"NodeDiedError", "ActorUnschedulableError", "TaskUnschedulableError"}


@dataclass(frozen=True)
class Fault:
    """Why a variant could not be finished."""

    kind: Kind
    reason: str
    node_lost: bool = False
    """Whether it came of a node that is gone, which is no fault of the variant."""

    @property
    def may_pass(self) -> bool:
        """Whether another attempt may go well: what was rejected or cannot fit will be so again."""
        return self.kind not in ("rejected", "infeasible")

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


def fault(error: Exception) -> Fault:
    """What an error means for its variant.

    Raises:
        Exception: the error itself, where it is none that a variant can be blamed for.
    """
    if not isinstance(error, _EXPECTED):
        raise error
    cause = getattr(error, "cause", None) or error
    reason = str(cause) if isinstance(cause, StepFailed | Damaged) else f"{type(cause).__name__}: {cause}"
    return Fault(_kind(error, cause), " ".join(reason.split())[:500], _node_lost(error, cause))


def _node_lost(error: Exception, cause: BaseException) -> bool:
    names = {type(error).__name__, type(cause).__name__}
    return bool(names & _OF_A_LOST_NODE) or any(words in str(cause) for words in ("node died", "node has died"))


def _kind(error: Exception, cause: BaseException) -> Kind:
    names = {type(error).__name__, type(cause).__name__}
    if isinstance(cause, TimedOut):
        return "timed out"
    if isinstance(cause, StepFailed | Damaged):
        return "rejected"
    if isinstance(cause, Infeasible):
        return "infeasible"
    if "MemoryError" in names or any("OutOfMemory" in name for name in names) or "out of memory" in str(cause).lower():
        return "out of memory"
    if any("Timeout" in name for name in names):
        return "timed out"
    return "crashed"
