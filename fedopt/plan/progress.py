"""How solvers report and are stopped: a callback given one history row per round, and the row in words."""

from __future__ import annotations

from collections.abc import Callable

from fedopt.plan.document import HistoryRow, relative_gap

Progress = Callable[[HistoryRow], bool | None]
"""Called after every round. A true answer asks the solver to stop at its best plan so far; it then ends with
status "feasible" when it has one and "limit" when it has none, exactly as when its time limit is reached."""


def round_line(row: HistoryRow) -> str:
    """One round in one line: cost, lower bound, gap, columns, seconds."""
    parts = [f"round {row.round}"]
    if row.cost is not None:
        parts.append(f"cost {row.cost:.6g}")
    if row.lower_bound is not None:
        parts.append(f"bound {row.lower_bound:.6g}")
    if row.cost is not None and row.lower_bound is not None:
        gap = relative_gap(row.cost, row.lower_bound)
        if gap is not None:
            parts.append(f"gap {100 * gap:.3g} %")
    if row.primal_residual is not None:
        parts.append(f"residuals {row.primal_residual:.2g} {row.dual_residual or 0.0:.2g}")
    if row.columns is not None:
        parts.append(f"columns {row.columns}")
    parts.append(f"{row.seconds:.1f} s")
    return "  ".join(parts)
