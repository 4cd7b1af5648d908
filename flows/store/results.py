"""What a record holds, by the kind of its step. What actors make is of `actors.artifacts`; the rest is put together by
the stages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from actors.artifacts import Checkpoint, EngineReport, Evaluation, Interference, ReferenceGap
from actors.as_json import Misfit, from_json, to_json

Figures = dict[str, Any]
"""One point of a load: numbers by name, with their units in the names (`flows.analysis.requests.figures`), beside
`asked`, the streams or the rate, and `unit`, which of the two that is."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One engine under a load."""

    points: tuple[Figures, ...]
    """In the order of the load's grid."""
    engine_cores: tuple[int, ...]
    """CPU cores that its compute threads are bound to; none with GPUs."""
    client_cores: tuple[int, ...]
    """Of its load generator; none where that is left to the kernel."""
    deployment: EngineReport
    reference: ReferenceGap


@dataclass(frozen=True, kw_only=True)
class Benchmark(Side):
    """One repeat of a load on a variant, and on the baseline in turn with it."""

    base: Side | None = None
    """None where the baseline was not benchmarked beside it."""
    start: float | None = None
    """When the engines were ready, in seconds since 1970: it names their start."""
    load_s: float | None = None
    """Seconds that the load took, on both engines."""
    block: Mapping[str, str | None] | None = None
    """The node's name as `host`, and the version of its GPUs' `driver`."""
    company: tuple[str, ...] = ()
    """Names of all engines that were loaded at the same time; none where one was loaded after the other."""
    interference: Interference | None = None
    """What co-location was seen to cost on the host; None where that was not measured."""
    first: str | None = None
    """Which side was loaded first, `variant` or `base`; None where both were at the same time."""


@dataclass(frozen=True)
class LookResult:
    """What a look at some repeats says."""

    enough: bool
    """Whether no more of them are needed."""
    why: str


Result = Checkpoint | Evaluation | Benchmark | LookResult
R = TypeVar("R", bound=Result)
R_co = TypeVar("R_co", bound=Result, covariant=True)

RESULTS: Mapping[str, type[Result]] = {
    "prepare": Checkpoint,
    "quantize": Checkpoint,
    "evaluate": Evaluation,
    "benchmark": Benchmark,
    "look": LookResult,
}
"""By the kind of a step."""


def read(kind: str, content: Mapping[str, Any]) -> Result:
    """The result in a record of a step of some kind.

    Raises:
        Misfit: it is none, or the kind is not known.
    """
    if kind not in RESULTS:
        raise Misfit(f"is that of a kind of step which this version does not know ({kind!r:.20})")
    return from_json(RESULTS[kind], content)


def written(kind: str, result: Result) -> dict[str, Any]:
    """A result as it stands in a record.

    Raises:
        Misfit: it could not be read again.
    """
    content = to_json(result)
    read(kind, content)
    return content
