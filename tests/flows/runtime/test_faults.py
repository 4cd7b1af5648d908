"""What an error means for its variant, in a word."""

import pytest
import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayTaskError

from actors.files.digests import Damaged
from actors.placement.lease import Infeasible
from flows.runtime.errors import StepFailed, TimedOut
from flows.runtime.faults import Kind, fault


def raised_by_an_actor(error: Exception) -> Exception:
    """As the driver sees it."""
    return RayTaskError("f", "traceback", error)


@pytest.mark.parametrize(
    ("error", "kind", "may_pass"),
    [
        (StepFailed("served wrongly"), "rejected", False),
        (TimedOut("no request ended"), "timed out", True),
        (Damaged("config.json: no quantization_config"), "rejected", False),
        (Infeasible("8 GPUs"), "infeasible", False),
        (ActorDiedError(), "crashed", True),
        (GetTimeoutError("late"), "timed out", True),
        (ray.exceptions.OutOfMemoryError("killed"), "out of memory", True),
        (raised_by_an_actor(MemoryError("host")), "out of memory", True),
        (raised_by_an_actor(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")), "out of memory", True),
        (raised_by_an_actor(TimeoutError("the server of a did not answer within 900 s")), "timed out", True),
        (raised_by_an_actor(ValueError("the calibration went wrong")), "crashed", True),
        (OSError(28, "No space left on device"), "crashed", True),
    ],
)
def test_error_gets_its_kind(error: Exception, kind: Kind, may_pass: bool) -> None:
    cause = fault(error)
    assert (cause.kind, cause.may_pass) == (kind, may_pass)
    assert str(cause).startswith(f"{kind}: ")


def test_mistake_of_this_program_is_not_blamed_on_a_variant() -> None:
    with pytest.raises(KeyError):
        fault(KeyError("a bug"))
