"""An audit in words, and its diagnostic plots: tail, threshold stability, mean residual life, quantiles."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.plan.present import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fedopt.audit.document import Audit, Probability, Quantile

__all__ = ["audit_figure", "plot_audit", "summary"]

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"


def summary(audit: Audit) -> str:
    """A few lines for people: verdict, quantiles with intervals, drift, and what to know about them."""
    lines = [_head(audit)]
    lines.append(
        f"  tail: {audit.exceedances:,} of {audit.samples:,} samples above {audit.threshold:g}, "
        f"shape {audit.shape:.3f}, scale {audit.scale:.4g}"
        + (f", values rounded to {audit.grid:g}" if audit.grid else "")
    )
    lines.append(
        f"  dependence: counts vary {audit.clustering:.1f} times as much as independent ones, "
        f"extremal index {audit.extremal_index:.2f}"
    )
    lines.extend(_quantile_line(name, row, audit.confidence) for name, row in audit.quantiles.items())
    if audit.violation is not None and audit.promise is not None:
        lines.extend(_chance_lines(audit.violation, audit.promise.epsilon, audit.samples))
    if audit.verdict == "undecided":
        needed = audit.samples_to_decide
        lines.append(
            f"  about {needed:,} samples would decide"
            if needed
            else "  no number of samples can be told that would decide"
        )
    drift = audit.drift
    if drift.kind in ("transient", "systematic"):
        times = (
            f", time {drift.start_time:g} to {drift.end_time:g}"
            if drift.start_time is not None and drift.end_time is not None
            else ""
        )
        lines.append(
            f"  drift: {drift.kind}, {drift.direction} from sample {drift.start:,} to {drift.end:,}{times} "
            f"(false-alarm rate {drift.false_alarm_rate:g})"
        )
    elif drift.kind == "unknown":
        lines.append("  drift: the series is too short for its correlation to tell")
    lines.extend(f"  note: {note}" for note in audit.notes)
    for part in audit.series.values():
        p999 = part.quantiles.get("0.999") or next(iter(part.quantiles.values()))
        lines.append(f"  {part.name}: {part.verdict or 'no promise'}; {_ends(p999)}; drift {part.drift.kind}")
    return "\n".join(lines)


def _head(audit: Audit) -> str:
    if audit.verdict is None:
        return f"{audit.name}: audited, nothing was promised"
    words = {
        "kept": "the promise is kept",
        "broken": "the promise is BROKEN",
        "undecided": "not decidable yet",
    }
    return f"{audit.name}: {words[audit.verdict]} (each way at {0.5 + audit.confidence / 2:.1%} confidence)"


def _chance_lines(chance: Probability, epsilon: float, samples: int) -> list[str]:
    low, high = chance.interval
    text = (
        f"  P(delay > {chance.level:g}): {chance.count:,} of {samples:,}, {chance.estimate:.3g} "
        f"({low:.3g} to {high:.3g}); promised {epsilon:g}"
    )
    if chance.tail is not None:
        text += f"; the fitted tail alone: {chance.tail:.3g}"
    return [text] + ([f"  !! not to be relied on: {chance.warning}"] if chance.warning else [])


def _quantile_line(name: str, row: Quantile, confidence: float) -> str:
    text = f"  p{100 * float(name):.10g}: {_ends(row)} [{confidence:.0%}] by {_method(row)}"
    if row.method == "tail":
        low, high = ("?" if end is None else f"{end:.5g}" for end in row.empirical_interval)
        text += f"; counts alone: {row.empirical:.5g} ({low} to {high})"
    elif row.tail is not None:
        text += f"; the fitted tail: {row.tail:.5g}"
    return text + (f"\n  !! {row.warning}" if row.warning else "")


def _method(row: Quantile) -> str:
    return "the fitted tail" if row.method == "tail" else "counts"


def _ends(row: Quantile) -> str:
    low, high = ("?" if end is None else f"{end:.5g}" for end in row.interval)
    return f"{'at least ' if row.at_least else ''}{row.estimate:.5g} ({low} to {high})"


def plot_audit(audit: Audit, path: str | Path, unit: str = "") -> Path:
    """Write the diagnostics of an audit as PNG; raises MissingExtraError without matplotlib."""
    audit_figure(audit, unit).savefig(path, dpi=110)
    return Path(path)


def audit_figure(audit: Audit, unit: str = "") -> Figure:
    """The diagnostics of an audit as a figure; raises MissingExtraError without matplotlib."""
    drawn = figure(11, 8)
    axes = drawn.subplots(2, 2)
    suffix = f" ({unit})" if unit else ""
    _tail(axes[0, 0], audit, suffix)
    _quantiles(axes[0, 1], audit, suffix)
    _stability(axes[1, 0], audit, suffix)
    _residual_life(axes[1, 1], audit, suffix)
    title = f"{audit.name}: {audit.samples:,} samples, ξ = {audit.shape:.3f}"
    drawn.suptitle(title + (f", verdict {audit.verdict}" if audit.verdict else ""))
    return drawn


def _tail(axis: Any, audit: Audit, suffix: str) -> None:
    rows = np.array(audit.mean_residual_life)
    if rows.size:
        axis.plot(rows[:, 0], rows[:, 3] / audit.samples, "o", color=GREY, markersize=3, label="counts")
    share = audit.exceedances / audit.samples
    probability = np.geomspace(share, max(share * 1e-3, 1e-7), 200)
    x = audit.shape * np.log(share / probability)
    excess = audit.scale * np.where(
        np.abs(x) < 1e-9, np.log(share / probability), np.expm1(x) / (audit.shape or 1.0)
    )
    axis.plot(audit.threshold + excess, probability, color=BLUE, label="fitted tail")
    axis.axvline(audit.threshold, color=ORANGE, linewidth=1, label="threshold")
    if audit.promise is not None:
        axis.plot(
            audit.promise.deadline, audit.promise.epsilon, "*", color=ORANGE, markersize=12, label="promise"
        )
    axis.set(yscale="log", xlabel=f"delay{suffix}", ylabel="P(delay > x)", title="Tail")
    last = audit.threshold + float(excess[-1])
    limit = max(2.0 * audit.maximum, audit.promise.deadline * 1.1 if audit.promise else 0.0)
    axis.set_xlim(right=min(last, limit) if math.isfinite(last) else limit)
    axis.legend()


def _quantiles(axis: Any, audit: Audit, suffix: str) -> None:
    top = 1.5 * max(max(row.estimate for row in audit.quantiles.values()), audit.maximum)
    for place, (name, row) in enumerate(audit.quantiles.items()):
        pairs = ((row.interval, row.estimate, BLUE, -0.1), (row.empirical_interval, row.empirical, GREY, 0.1))
        for (low, high), centre, colour, shift in pairs:
            left, right = audit.threshold if low is None else low, top if high is None else min(high, top)
            axis.plot([left, right], [place + shift] * 2, color=colour, linewidth=2)
            axis.plot(centre, place + shift, "o", color=colour)
            if high is None or high > top:
                axis.plot(right, place + shift, ">", color=colour)
        axis.text(0, place, f" {name}", transform=axis.get_yaxis_transform(), va="center")
    axis.set(
        yticks=[],
        xlabel=f"delay{suffix}",
        title=f"Quantiles, {audit.confidence:.0%} intervals (blue: tail, grey: counts)",
    )


def _stability(axis: Any, audit: Audit, suffix: str) -> None:
    for row in audit.thresholds:
        colour = BLUE if row.accepted else GREY
        error = 1.96 * (row.shape_error or 0.0) * math.sqrt(max(row.clustering, 1.0))
        axis.errorbar(row.threshold, row.shape, yerr=error, fmt="o", color=colour, capsize=2)
    axis.axvline(audit.threshold, color=ORANGE, linewidth=1)
    axis.axhline(0, color=GREY, linewidth=0.5)
    axis.set(xlabel=f"threshold{suffix}", ylabel="shape ξ", title="Stability (blue: accepted)")


def _residual_life(axis: Any, audit: Audit, suffix: str) -> None:
    rows = np.array(audit.mean_residual_life)
    if rows.size:
        axis.plot(rows[:, 0], rows[:, 1], color=BLUE)
        axis.fill_between(
            rows[:, 0], rows[:, 1] - 1.96 * rows[:, 2], rows[:, 1] + 1.96 * rows[:, 2], alpha=0.2, color=BLUE
        )
    axis.axvline(audit.threshold, color=ORANGE, linewidth=1)
    axis.set(xlabel=f"threshold{suffix}", ylabel=f"mean excess{suffix}", title="Mean residual life")
