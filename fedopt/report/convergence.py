"""How the method got there: cost and lower bound by round, and the certified gap on a log axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedopt.plan.document import HistoryRow, Plan, relative_gap
from fedopt.plan.summary import format_gap
from fedopt.report.drawing import Drawing, Linear, Log, axes
from fedopt.report.tables import Column, Table, number

WIDTH, HEIGHT = 440.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 14.0, 14.0, 44.0

SMALLEST_GAP = 1e-8
"""A gap below this is drawn at it; zero has no place on a log axis."""


Legend = list[tuple[str, str, str]]
"""(style, shape, words) of each line."""


def convergence_charts(plan: Plan) -> list[tuple[Legend, str]]:
    """The charts that the history has numbers for, with their legends; none for fewer than two rounds."""
    if len(plan.history) < 2:
        return []
    charts: list[tuple[Legend, str]] = [
        ([("cost", "circle", "cost"), ("lower", "triangle", "proven lower bound")], _values(plan.history)),
        ([("gap", "circle", "certified relative gap")], _gaps(plan.history)),
        (
            [("cost", "circle", "primal residual"), ("lower", "triangle", "dual residual")],
            _residuals(plan.history),
        ),
    ]
    return [(legend, chart) for legend, chart in charts if chart]


def convergence_table(plan: Plan) -> Table | None:
    """Every round in a table."""
    if not plan.history:
        return None
    columns = [
        Column(name, True)
        for name in (
            "round",
            "cost",
            "lower bound",
            "gap",
            "primal residual",
            "dual residual",
            "columns",
            "seconds",
        )
    ]
    raw = [
        (
            float(row.round),
            row.cost,
            row.lower_bound,
            _gap(row),
            row.primal_residual,
            row.dual_residual,
            row.columns,
            row.seconds,
        )
        for row in plan.history
    ]
    rows = [
        [
            str(row.round),
            number(row.cost, 7),
            number(row.lower_bound, 7),
            "–" if (gap := _gap(row)) is None else format_gap(gap),
            number(row.primal_residual, 3),
            number(row.dual_residual, 3),
            "–" if row.columns is None else str(row.columns),
            f"{row.seconds:.2f}",
        ]
        for row in plan.history
    ]
    kept = [at for at in range(len(columns)) if at < 1 or any(values[at] is not None for values in raw)]
    return Table(
        "rounds",
        "Rounds of the method; cost and lower bound are the best known then",
        [columns[at] for at in kept],
        [[row[at] for at in kept] for row in rows],
        keys={new: [values[at] for values in raw] for new, at in enumerate(kept)},
    )


def _gap(row: HistoryRow) -> float | None:
    if row.cost is None or row.lower_bound is None:
        return None
    return relative_gap(row.cost, row.lower_bound)


def _frame(name: str, title: str, description: str, rounds: Sequence[int]) -> tuple[Drawing, Linear]:
    drawing = Drawing(name, WIDTH, HEIGHT, title, description)
    return drawing, Linear(min(rounds), max(max(rounds), min(rounds) + 1), LEFT, WIDTH - RIGHT)


def _values(history: Sequence[HistoryRow]) -> str:
    costs = [(row.round, row.cost) for row in history if row.cost is not None]
    bounds = [(row.round, row.lower_bound) for row in history if row.lower_bound is not None]
    if max(len(costs), len(bounds)) < 2:
        return ""
    words = []
    if costs:
        words.append(f"Cost from {number(costs[0][1], 6)} to {number(costs[-1][1], 6)}.")
    if bounds:
        words.append(f"Lower bound from {number(bounds[0][1], 6)} to {number(bounds[-1][1], 6)}.")
    drawing, x = _frame(
        "values", "Cost and lower bound by round", " ".join(words), [row.round for row in history]
    )
    # early bounds may lie orders of magnitude away; the axis covers what is within reach of the end
    end = [series[-1][1] for series in (costs, bounds) if series]
    reach = max(abs(value) for value in end) or 1.0
    low, high = min(end) - 0.5 * reach, max(end) + 0.5 * reach
    near = [value for _, value in (*costs, *bounds) if low <= value <= high]
    pad = 0.06 * (max(near) - min(near) or reach)
    y = Linear(min(near) - pad, max(near) + pad, HEIGHT - BOTTOM, TOP)
    axes(drawing, x, y, "round", "cost", x_ticks=6, whole=True)
    for points, style, shape in ((bounds, "lower", "triangle"), (costs, "cost", "circle")):
        inside = [(x(at), y(value)) for at, value in points if y.low <= value <= y.high]
        drawing.polyline(inside, f"curve {style}")
        for px, py in inside if len(inside) <= 60 else inside[-1:]:
            drawing.mark(shape, px, py, f"dot {style}", 3.0)
    return drawing.markup()


def _gaps(history: Sequence[HistoryRow]) -> str:
    gaps = [(row.round, max(gap, SMALLEST_GAP)) for row in history if (gap := _gap(row)) is not None]
    if len(gaps) < 2:
        return ""
    words = f"Certified relative gap from {format_gap(gaps[0][1])} to {format_gap(gaps[-1][1])}."
    return _on_log(
        "gaps", "Certified gap by round", words, history, [(gaps, "gap", "circle")], "relative gap"
    )


def _residuals(history: Sequence[HistoryRow]) -> str:
    primal = [(row.round, row.primal_residual) for row in history if row.primal_residual]
    dual = [(row.round, row.dual_residual) for row in history if row.dual_residual]
    if max(len(primal), len(dual)) < 2:
        return ""
    series = [(primal, "cost", "circle"), (dual, "lower", "triangle")]
    words = " ".join(
        f"{kind} residual from {number(points[0][1], 2)} to {number(points[-1][1], 2)}."
        for kind, points in (("Primal", primal), ("Dual", dual))
        if points
    )
    return _on_log("residuals", "Residuals by round", words, history, series, "residual")


def _on_log(
    name: str,
    title: str,
    words: str,
    history: Sequence[HistoryRow],
    series: Sequence[tuple[Sequence[tuple[int, float]], str, str]],
    label: str,
) -> str:
    drawing, x = _frame(name, title, words, [row.round for row in history])
    logs = [[(at, math.log10(value)) for at, value in points] for points, _, _ in series]
    every = [level for points in logs for _, level in points]
    y = Log(math.floor(min(every)), math.ceil(max(every) + 1e-9), HEIGHT - BOTTOM, TOP)
    if y.low == y.high:
        y = Log(y.low - 1, y.high, HEIGHT - BOTTOM, TOP)
    axes(drawing, x, y, "round", label, x_ticks=6, whole=True)
    for points, (_, style, shape) in zip(logs, series, strict=True):
        placed = [(x(at), y(level)) for at, level in points]
        drawing.polyline(placed, f"curve {style}")
        for px, py in placed if len(placed) <= 60 else placed[-1:]:
            drawing.mark(shape, px, py, f"dot {style}", 3.0)
    return drawing.markup()
