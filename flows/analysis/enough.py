"""Whether a load can give the requests that its limits need, before it is put on anything. Pure functions."""

import math

from configs.decision import Decision
from configs.experiment import Experiment, section
from configs.load import Load, in_words
from flows.analysis.points import LIMITED
from flows.statistics.percentiles import fewest


def notes(experiment: Experiment) -> list[str]:
    """What should be changed of loads at which a 95th percentile, or a share, may not be shown; a line for each."""
    needed = _needed(experiment.decision)
    return [
        line
        for name, load in experiment.loads.items()
        for line in ([_of(section(name), load, needed)] if needed else [])
        if line
    ]


def _needed(decision: Decision) -> int:
    """Requests in all repeats together that show the limits to be kept if every one keeps to them; 0 without limits."""
    by_percentile = decision.objective in ("ttft", "tpot") or bool(decision.constraints.latency_limits_ms)
    if not by_percentile:
        return 0
    return fewest(100 * decision.attainment if decision.by_attainment else LIMITED, decision.confidence)


def _of(where: str, load: Load, needed: int) -> str | None:
    each = math.ceil(needed / load.looks[0])
    lightest = min(load.points)
    if load.requests >= each:
        return None
    raised = f"set {where}.requests: {each}"
    at = (
        f"{where}: a limit needs {needed} requests to be shown; {in_words(lightest, load.unit)} for "
        f"{load.duration_s:g} s in {load.looks[0]} repeats give"
    )
    if not load.open_loop:
        most = lightest * load.duration_s / each
        return f"{at} fewer if a request takes more than {most:.3g} s: then {raised}"
    expected = lightest * load.duration_s * load.looks[0]
    return f"{at} about {expected:.0f}; {raised}, or raise duration_s" if expected < needed else None
