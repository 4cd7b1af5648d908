"""The tables of accuracy: one a variant, against the baseline on the same documents."""

from flows.analysis.judgement import Difference, Judged, Pooled
from flows.reporting.table import Table


def accuracy(variant: Judged, base: Judged) -> Table:
    """One variant's tasks against the baseline's, beside the flips of the baseline against itself; or those of the
    baseline alone."""
    control = {difference.task: difference for difference in base.differences}
    title = f"Accuracy of {variant.name} against {base.name}, on the same documents"
    if variant is base:
        title = f"Control: {base.name} against itself, with a different batch size"
    elif (own := _evaluations(variant)) and own <= _evaluations(base):
        title = f"Accuracy of {variant.name}: the baseline's own records, as only batching differs"
    headers = (
        "task\nmetric",
        "documents",
        "baseline\nvariant",
        "difference\n[interval]",
        "recovery\n[interval]",
        "flips\n+/-",
        "control\n+/-",
        "p (Holm)",
        "required",
        "verdict",
    )
    rows = [_difference(difference, control.get(difference.task)) for difference in variant.differences]
    if variant.pooled:
        rows.append(_pooled(variant.pooled))
    return Table(f"accuracy-{variant.name}", title, headers, tuple(rows))


def _evaluations(variant: Judged) -> set[str]:
    """Fingerprints of its evaluations."""
    return {fingerprint for step, fingerprint in variant.evidence.items() if step.split()[0] == "evaluate"}


def _pooled(pooled: Pooled) -> tuple[str, ...]:
    interval = f"{pooled.difference:+.3f}\n[{pooled.low:+.3f}, {pooled.high:+.3f}]"
    return (f"mean of {len(pooled.tasks)} tasks", "", "", interval, "", "", "", "", "", pooled.verdict)


def _difference(difference: Difference, control: Difference | None) -> tuple[str, ...]:
    sources = f"\nfrom {difference.sources}" if difference.sources is not None else ""
    filtered = f" ({difference.filter})" if difference.filter != "none" else ""
    return (
        f"{difference.task}\n{difference.metric}{filtered}",
        f"{difference.documents}{sources}",
        f"{difference.base:.3f}\n{difference.variant:.3f}",
        f"{difference.difference:+.3f}\n[{difference.low:+.3f}, {difference.high:+.3f}]",
        _recovery(difference),
        f"{difference.gained}/{difference.lost}",
        f"{control.gained}/{control.lost}" if control else "",
        _p_value(difference.p_holm),
        _required(difference),
        difference.verdict or "shown only",
    )


def _required(difference: Difference) -> str:
    """The largest loss, or the smallest recovery; nothing where no verdict is given."""
    if difference.verdict is None:
        return ""
    return f"{100 * (difference.min_recovery or 0.0):g} %" if difference.margin is None else f"-{difference.margin:g}"


def _recovery(difference: Difference) -> str:
    if difference.recovery is None or difference.recovery_low is None or difference.recovery_high is None:
        return ""
    low, high = 100 * difference.recovery_low, 100 * difference.recovery_high
    return f"{100 * difference.recovery:.1f} %\n[{low:.1f}, {high:.1f}]"


def _p_value(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
