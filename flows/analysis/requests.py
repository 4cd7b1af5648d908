"""What one point of a load test says, from its requests one by one. Pure functions.

In an open loop (constant or Poisson rates) a latency counts from the moment at which the request was
due, so that neither a stalled server nor a late client can hide (coordinated omission: Tene, "How NOT
to measure latency", 2015). In a closed loop (concurrent clients) nothing is due before the answer to
the request before it, and a latency counts from when the request was sent.

A latency is taken of every request that began in the window, followed to its end behind it; one that was given up
counts as long as it was waited for. Rates are those of the window.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actors.artifacts import REQUESTS
from configs.decision import Constraints
from flows.analysis.backlog import Overload, overload
from flows.analysis.judgement import CLIENT_LIMIT, COMPILED, VOID

PERCENTILES = (50, 95, 99)
MOST_ERRORS = 0.01
"""Share of requests that may fail before a point is marked."""
_LATE_SHARE, _LATE_FLOOR_MS = 0.1, 5.0
"""A client is late where the 95th percentile of its delay exceeds this share of the median TTFT, and
this many milliseconds."""
_CLIENT_SHARE = 0.8
"""Of what its busiest process can do, beyond which the client counts as the limit: up to 0.73 the TTFT of a mock that
answers at once was measured as 6 to 9 ms, above 1 as 56 to 77 ms (tests/bench/README.md)."""


@dataclass(frozen=True)
class Requests:
    """The requests of one point, as columns of the same length; times in seconds from the start of the
    measured window, NaN for what never happened."""

    status: np.ndarray
    """`completed`, `errored`, or `unfinished` when the point ended."""
    started: np.ndarray
    """When the latency begins: when the request was due (open loop) or sent (closed loop)."""
    delay: np.ndarray
    """Seconds between due and sent; 0 in a closed loop."""
    first_token: np.ndarray
    last_token: np.ndarray
    ended: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    window_s: float
    open_loop: bool

    @classmethod
    def of(cls, rows: list[dict[str, Any]], window_s: float, *, open_loop: bool) -> "Requests":
        """From rows as the load generator wrote them."""

        def column(name: str) -> np.ndarray:
            return np.array([row[name] for row in rows], dtype=float)

        due, sent = column("due_s"), column("sent_s")
        return cls(
            status=np.array([row["status"] for row in rows], dtype="U10"),
            started=due if open_loop else sent,
            delay=sent - due if open_loop else np.zeros(len(rows)),
            first_token=column("first_token_s"),
            last_token=column("last_token_s"),
            ended=column("ended_s"),
            prompt_tokens=column("prompt_tokens"),
            output_tokens=column("output_tokens"),
            window_s=window_s,
            open_loop=open_loop,
        )

    @property
    def begun(self) -> np.ndarray:
        """Which requests began inside the window."""
        return np.asarray((self.started >= 0) & (self.started < self.window_s))

    @property
    def measured(self) -> np.ndarray:
        """Which requests were followed from their beginning in the window to their end."""
        return np.asarray((self.status == "completed") & self.begun)

    def latencies_ms(self) -> dict[str, np.ndarray]:
        """Of every request that began in the window and did not fail, NaN where there is none: TTFT; TPOT, the mean gap
        between its tokens after the first (as MLPerf Inference and vLLM's benchmarks have it; their ITL is each
        single gap, of which the load generator keeps no moments); and the latency of the whole request."""
        return self._latencies_ms(self.begun & (self.status != "errored"))

    def within(self, limits: Constraints) -> np.ndarray:
        """Of every request that began in the window, whether it was completed and kept to every latency limit."""
        good, latencies = (self.status == "completed")[self.begun], self._latencies_ms(self.begun)
        for figure, limit in limits.latency_limits_ms.items():
            good &= np.isnan(latencies[figure]) | (latencies[figure] <= limit)
        return np.asarray(good)

    def overload(self, rate: float | None) -> Overload | None:
        """How much more comes than is done.

        Args:
            rate: requests per second of the load; None where it is unknown.
        """
        kept = np.flatnonzero(self.begun)
        kept = kept[np.argsort(self.started[kept], kind="stable")]
        ended = np.where(self.status[kept] == "completed", self.ended[kept], np.nan)
        sizes = np.column_stack([self.prompt_tokens[kept], self.output_tokens[kept]])
        return overload(self.started[kept], ended, sizes, rate)

    def _latencies_ms(self, kept: np.ndarray) -> dict[str, np.ndarray]:
        started, first, last = self.started[kept], self.first_token[kept], self.last_token[kept]
        ended, tokens = self.ended[kept], self.output_tokens[kept]
        gaps = np.where(tokens > 1, tokens - 1, np.nan)
        return {
            "ttft": 1000 * (np.where(np.isnan(first), ended, first) - started),
            "tpot": 1000 * (last - first) / gaps,
            "request_latency": 1000 * (ended - started),
        }


def read(folder: Path, windows_s: list[float], *, open_loop: bool) -> list[Requests]:
    """Every point of a benchmark's folder."""
    rows: list[list[dict[str, Any]]] = [[] for _ in windows_s]
    with (folder / REQUESTS).open() as file:
        for line in file:
            row = json.loads(line)
            rows[row["point"]].append(row)
    return [Requests.of(point, window, open_loop=open_loop) for point, window in zip(rows, windows_s, strict=True)]


def figures(
    point: Requests, *, client_share: float | None = None, compiled: bool | None = None, rate: float | None = None
) -> dict[str, float]:
    """The figures of a point: counts, rates and percentiles, with their units in the names. Where no request began and
    ended there are no latencies.

    Output tokens count when they came, not when their request ended, so that requests cut by the edges
    of a short window do not shake the throughput.

    Args:
        client_share: how near the client came to its limit, 1 for all that it can do; None where nobody looked.
        compiled: whether the engine compiled something meanwhile (`flows.analysis.engine_log`); None where nobody
            looked.
        rate: requests per second of the load; None in a closed loop, or where it is unknown.
    """
    window, begun, completed = point.window_s, point.begun, point.status == "completed"
    figures: dict[str, float] = {
        "requests": int(point.measured.sum()),
        "errors": int((begun & (point.status == "errored")).sum()),
        "unfinished": int((begun & (point.status == "unfinished")).sum()),
        "seconds": window,
        "requests_per_second": float((completed & (point.ended >= 0) & (point.ended < window)).sum() / window),
        "arrivals_per_second": float(begun.sum() / window),
        "output_tokens_per_second": float(_tokens_inside(point) / window),
        "concurrency_mean": float(
            np.nansum(_overlap(point.started, np.nan_to_num(point.ended, nan=window), window)) / window
        ),
    }
    observed = {"client_share": client_share, "compiled": compiled}
    figures |= {name: float(value) for name, value in observed.items() if value is not None}
    if point.open_loop and (more := point.overload(rate)):
        figures |= {"overload": more.share, "overload_low": more.low, "saturated": float(more.shown)}
    if not point.measured.any():
        return figures
    for name, tokens in (("prompt", point.prompt_tokens), ("output", point.output_tokens)):
        lengths = tokens[point.measured & ~np.isnan(tokens)]
        figures |= {f"{name}_tokens_mean": float(lengths.mean())} if lengths.size else {}
    figures["client_delay_p95_ms"] = float(1000 * np.nanpercentile(point.delay[begun], 95))
    for name, values in point.latencies_ms().items():
        latencies = values[~np.isnan(values)]
        for percentile in PERCENTILES if latencies.size else ():
            figures[f"{name}_p{percentile}_ms"] = float(np.percentile(latencies, percentile))
    return figures


def goodput(point: Requests, limits: Constraints) -> float:
    """Requests per second, of those that began in the window, that each kept to every latency limit. Whether that is a
    share of them that is large enough is another question (`flows.analysis.points`)."""
    return float(point.within(limits).sum() / point.window_s)


def labels(figures: dict[str, Any], *, open_loop: bool) -> list[str]:
    """What makes a point's figures mean something else than they say."""
    notes, unfinished = [], figures.get("unfinished", 0)
    if figures["errors"] > MOST_ERRORS * (figures["requests"] + figures["errors"]):
        notes.append("errors")
    if figures["requests"] and unfinished > MOST_ERRORS * (figures["requests"] + unfinished):
        notes.append("unfinished requests")
    if figures.get("client_share", 0.0) > _CLIENT_SHARE:
        notes.append(CLIENT_LIMIT)
    if figures.get("compiled"):
        notes.append(COMPILED)
    if open_loop and figures.get("saturated"):
        notes.append("saturated")
    late = max(_LATE_FLOOR_MS, _LATE_SHARE * figures.get("ttft_p50_ms", 0.0))
    if open_loop and figures.get("client_delay_p95_ms", 0.0) > late:
        notes.append("late client")
    return notes


def counts(figures: dict[str, Any]) -> bool:
    """Whether a point of one repeat may be compared: some request ended, and no label says that it is void."""
    return figures["requests"] > 0 and VOID.isdisjoint(labels(figures, open_loop=False))


def _tokens_inside(point: Requests) -> float:
    """Output tokens that came within the window, those of a request spread evenly behind its first. Where GuideLLM kept
    no moment of them, as of a request that is cut off with its first token, they came at the request's end."""
    first = np.where(np.isnan(point.first_token), point.ended, point.first_token)
    counted = (point.output_tokens > 0) & ~np.isnan(first)
    first, tokens = first[counted], point.output_tokens[counted]
    last = np.fmax(point.last_token[counted], first + 1e-9)
    inside = ((first >= 0) & (first <= point.window_s)).sum()
    return float(inside + ((tokens - 1) * _overlap(first, last, point.window_s) / (last - first)).sum())


def _overlap(begin: np.ndarray, end: np.ndarray, window_s: float) -> np.ndarray:
    """Seconds that each span has inside the window."""
    return np.asarray(np.clip(np.minimum(end, window_s) - np.maximum(begin, 0.0), 0.0, None))
