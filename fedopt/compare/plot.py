"""How each method of a comparison got there: certified gap and residuals by round, and what it was shown."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedopt.plan.document import Plan, relative_gap
from fedopt.storage import write_atomically

if TYPE_CHECKING:
    from fedopt.compare.comparison import Comparison

__all__ = ["FORMATS", "PlotExtraMissing", "drawing", "plot"]

FORMATS = ("png", "svg", "pdf")
SMALLEST = 1e-9
"""What is smaller is drawn here; zero has no place on a log axis."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Told apart by the colour-blind (Okabe and Ito)."""


class PlotExtraMissing(ImportError):
    """matplotlib is not installed; the message names the extra that brings it."""

    exit_code = 2


Points = list[tuple[float, float]]


def plot(comparison: Comparison, path: str | Path) -> Path:
    """Draw a comparison to a PNG, SVG or PDF file, as its name says; the file is written whole.

    Left: certified gap by round, dashed where heads may still be split over paths (the relaxation that the
    rounds of a federated method close). Middle: residuals by round. Right: the same gap against the numbers
    that operators had told by then; a method that is given everything stands as a vertical line at the number
    of private numbers that it was given. Raises PlotExtraMissing, and ValueError for another suffix.
    """
    suffix = Path(path).suffix.lstrip(".").lower()
    if suffix not in FORMATS:
        raise ValueError(f"a plot is written as {', '.join(FORMATS)}, not {suffix or 'without a suffix'!r}")
    figure: Any = drawing()(figsize=(15.0, 4.6), layout="constrained")
    gaps, residuals, shown = figure.subplots(1, 3)
    several = len({row.guarantee for row in comparison.rows}) > 1
    planned = [
        (row, plan) for row, plan in zip(comparison.rows, comparison.plans, strict=True) if plan is not None
    ]
    for k, (row, plan) in enumerate(planned):
        name = f"{row.method}, {row.guarantee}" if several else row.method
        colour = COLOURS[k % len(COLOURS)]
        _line(gaps, _plan_gaps(plan), "o-", colour, f"{name}: plan")
        _line(gaps, _relaxation(plan, "round"), ".--", colour, f"{name}: relaxation")
        _line(residuals, _residuals(plan, "primal_residual"), "o-", colour, f"{name}: primal")
        _line(residuals, _residuals(plan, "dual_residual"), ".--", colour, f"{name}: dual")
        _line(shown, _relaxation(plan, "told"), ".--", colour, f"{name}: relaxation")
        if row.private_numbers:
            label = f"{name}: is given {row.private_numbers} private numbers"
            shown.axvline(row.private_numbers, color=colour, linestyle=":", label=label)
    for axis, x_label, y_label in (
        (gaps, "round", "certified relative gap"),
        (residuals, "round", "relative residual (certifies nothing)"),
        (shown, "numbers that operators had told", "certified relative gap of the relaxation"),
    ):
        axis.set(xlabel=x_label, ylabel=y_label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        if axis.get_lines():
            axis.set_yscale("log")
            axis.legend(fontsize="small")
        else:
            axis.text(0.5, 0.5, "nothing to show", ha="center", va="center", transform=axis.transAxes)
    figure.suptitle(comparison.instance)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=suffix, dpi=120)
    return write_atomically(path, drawn.getvalue())


def drawing() -> Any:
    """matplotlib's `Figure`. Raises PlotExtraMissing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotExtraMissing("drawing needs matplotlib: pip install 'fedopt[plot]'") from error
    return Figure


def _line(axis: Any, points: Points, style: str, colour: str, label: str) -> None:
    if points:
        x, y = zip(*points, strict=True)
        axis.plot(x, [max(value, SMALLEST) for value in y], style, color=colour, label=label)


def _plan_gaps(plan: Plan) -> Points:
    return _gaps((row.round, row.cost, row.lower_bound) for row in plan.history)


def _relaxation(plan: Plan, x: str) -> Points:
    records = plan.ledger.get("relaxation", {}).get("by_round", ())
    return _gaps((record[x], record["upper"], record["lower"]) for record in records if x in record)


def _gaps(bounds: Iterable[tuple[int, float | None, float | None]]) -> Points:
    """Relative gaps where both bounds are known."""
    known = ((x, relative_gap(cost, low)) for x, cost, low in bounds if cost is not None and low is not None)
    return [(float(x), gap) for x, gap in known if gap is not None]


def _residuals(plan: Plan, which: str) -> Points:
    values = ((row.round, getattr(row, which)) for row in plan.history)
    return [(float(round_), value) for round_, value in values if value is not None]
