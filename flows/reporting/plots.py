"""The report's figures, as SVG text: colour-blind safe, marked by shape as well as by colour."""

import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from configs.decision import Constraints
from configs.load import in_words
from flows.analysis.front import operating_points
from flows.analysis.judgement import Judged, Judgement
from flows.reporting.tables import cost_of_tokens

_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito (2008), black first for the baseline; markers tell variants apart in grey too."""
_MARKERS = "osD^vPX*"
"""One more than colours, so that the two together repeat late."""
_LIMIT: dict[str, Any] = {"color": "#555555", "linestyle": "--", "linewidth": 1.2}
"""Style of a limit: a colour that no variant has."""
_ON_WHITE: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
"""Behind words that a line may cross."""
_WIDTH = 4.6
"""Inches of a figure: its letters can still be read where a phone shrinks it, and two stand side by side."""
_AXES: dict[str, str] = {"streams": "concurrent clients", "requests_per_second": "requests/s"}
"""What an axis of loads is called, by the unit of its points."""


def accuracy(judgement: Judgement) -> str:
    """Interval plot of accuracy differences, turned so that more is better and as shares of what their metrics go to,
    each with its margin; empty without differences."""
    rows = [(v, d) for v in judgement.judged for d in v.differences if d.verdict]
    if not rows:
        return ""
    figure, axes = _figure(0.8 + 0.45 * len(rows))
    for position, (variant, difference) in enumerate(rows):
        index = judgement.judged.index(variant)
        low, middle, high = sorted(
            difference.turned(value) for value in (difference.low, difference.difference, difference.high)
        )
        axes.errorbar(middle, position, xerr=[[middle - low], [high - middle]], capsize=4, **_style(index))
        if difference.margin is not None:
            label = None if "margin" in axes.get_legend_handles_labels()[1] else "margin"
            axes.plot(
                [-difference.margin / difference.goes_to] * 2, [position - 0.4, position + 0.4], label=label, **_LIMIT
            )
        label = f"{variant.name}, {difference.task} {difference.metric}"
        axes.text(0.02, position - 0.25, label, transform=axes.get_yaxis_transform(), fontsize="small", bbox=_ON_WHITE)
    axes.axvline(0, color="#888888", linewidth=0.8)
    axes.set_yticks([])
    axes.set_ylim(len(rows) - 0.5, -0.75)
    axes.set_xlabel("difference from the baseline (right is better), with its interval")
    _legend(axes)
    return _svg(figure)


def load(judgement: Judgement, limits: Constraints) -> str:
    """Throughput and TTFT p95 against load with their intervals, a figure each; points that do not count
    are hollow. Empty where nothing was judged."""
    if not judgement.judged:
        return ""
    rate = _against_load(judgement, "output_tokens_per_second", "output tokens/s", None)
    return rate + _against_load(judgement, "ttft_p95_ms", "TTFT p95, ms", limits.max_ttft_p95_ms)


def _against_load(judgement: Judgement, name: str, label: str, limit: float | None) -> str:
    """One figure of every variant over the load; side by side where there is one load only."""
    figure, axes = _figure(3.6)
    if limit is not None:
        axes.axhline(limit, label=f"limit {limit:g} ms", **_LIMIT)
    points = [point for variant in judgement.judged for point in variant.points]
    loads = sorted({point.asked for point in points})
    single = len(loads) == 1
    for index, variant in enumerate(judgement.judged):
        _curve(axes, variant, name, index, shift=index if single else 0)
    where = f"at {in_words(loads[0], points[0].unit)}" if single else _AXES[points[0].unit]
    axes.set_xlabel(f"{where} (hollow: see the notes)")
    axes.set_xticks([] if single else loads, [] if single else [f"{load:g}" for load in loads])
    axes.set_ylabel(label)
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])  # else the topmost marker touches the frame
    axes.grid(alpha=0.3)
    _legend(axes)
    return _svg(figure)


def _curve(axes: Axes, variant: Judged, name: str, index: int, shift: float) -> None:
    """One figure of a variant over the load."""
    drawn = [(point, point.figures[name]) for point in variant.points if name in point.figures]
    loads, means = [point.asked + shift for point, _ in drawn], [figure.mean for _, figure in drawn]
    reach = [[m.mean - m.low if m.low is not None else 0.0 for _, m in drawn]]
    style = _style(index)
    axes.errorbar(loads, means, yerr=[reach[0], reach[0]], capsize=3, label=variant.name, **style)
    hollow = [(point.asked + shift, figure.mean) for point, figure in drawn if not point.usable]
    for position in hollow:
        axes.plot(*position, zorder=3, **{**style, "markerfacecolor": "white"})  # over the curve's own filled marker


def pareto(judgement: Judgement) -> str:
    """Latency against cost of every operating point, a line a variant; those on the Pareto front, in which accuracy
    counts as well, are filled. Empty where there is none."""
    points = operating_points(judgement.judged)
    if not points:
        return ""
    figure, axes = _figure(3.6)
    for index, variant in enumerate(judgement.judged):
        mine = sorted((p for p in points if p.variant == variant.name), key=lambda point: point.asked)
        style = _style(index)
        costs, latencies = [point.cost for point in mine], [point.latency_ms for point in mine]
        axes.plot(costs, latencies, label=variant.name, **style, markerfacecolor="white", linewidth=0.8)
        for point in set(mine) & set(judgement.pareto):
            axes.plot(point.cost, point.latency_ms, zorder=3, markersize=8, **style)
    axes.set_xlabel(cost_of_tokens(judgement.judged).replace("\n", " "))
    axes.set_ylabel("request latency p95, ms")
    axes.set_xlim(0, 1.1 * max(point.cost for point in points))
    axes.set_ylim(0, 1.1 * max(point.latency_ms for point in points))
    axes.grid(alpha=0.3)
    _legend(axes, title="filled: on the Pareto front")
    return _svg(figure)


def _figure(height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches, of which nobody else knows."""
    figure = Figure(figsize=(_WIDTH, height))
    return figure, figure.subplots()


def _style(index: int) -> dict[str, Any]:
    return {"color": _COLOURS[index % len(_COLOURS)], "marker": _MARKERS[index % len(_MARKERS)]}


def _legend(axes: Axes, **settings: Any) -> None:
    """Below the axes, where no name is so long that it hides a point."""
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4, **settings)


def _svg(figure: Figure) -> str:
    """The figure's SVG element alone, the same bytes for the same figure."""
    with matplotlib.rc_context({"svg.hashsalt": "model-serve-flow", "svg.fonttype": "none"}):
        text = io.StringIO()
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
