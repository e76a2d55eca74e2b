"""Diagnostic plots of an audit as one PNG: tail, threshold stability, mean residual life, quantiles with
intervals.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.plan.present import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fedopt.audit.document import Audit

__all__ = ["audit_figure", "plot_audit"]

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"


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
