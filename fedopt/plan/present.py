"""Results as data frames, drawings and HTML: what notebooks show of a plan and of what is measured on it."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedopt.errors import optional

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from fedopt.plan.document import Plan

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Told apart by the colour-blind (Okabe and Ito)."""

ROWS_SHOWN = 40
"""Rows of a table in HTML."""


def frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> DataFrame:
    """Rows as a pandas DataFrame; raises MissingExtraError without pandas."""
    with optional("Data frames", "table"):
        import pandas
    return pandas.DataFrame(list(rows), columns=None if columns is None else list(columns))


def figure(width: float = 8.0, height: float = 4.5) -> Figure:
    """An empty figure that belongs to no window; raises MissingExtraError without matplotlib."""
    with optional("Plots", "plot"):
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout="constrained")


def html_table(title: str, rows: Sequence[Mapping[str, Any]], note: str = "") -> str:
    """A title, a table of rows and a note as HTML that needs no style sheet."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(row.get(name)))}</td>" for name in names) + "</tr>"
        for row in rows[:ROWS_SHOWN]
    )
    more = f"<p>… {len(rows) - ROWS_SHOWN} more rows</p>" if len(rows) > ROWS_SHOWN else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    said = f"<p>{html.escape(note)}</p>" if note else ""
    return f"<div><p><b>{html.escape(title)}</b></p>{table}{more}{said}</div>"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """A row for every hop of every tenant entry of a plan."""
    rows = []
    for entry in plan.tenants:
        shared = {
            "tenant": entry.id,
            "count": entry.count,
            "admitted": entry.admitted,
            "bound": None if entry.log_bound is None else math.exp(entry.log_bound),
            "form": entry.form,
            "cost": entry.cost,
        }
        for domain, offer in entry.hops() or [("", "")]:
            hop = {"domain": domain or None, "offer": offer or None}
            rows.append({**shared, **hop, "reserved": entry.reservations.get(domain)})
    return rows


def plan_html(plan: Plan) -> str:
    """The tenants of a plan as an HTML table under its headline."""
    from fedopt.plan.summary import headline, paragraph, path_text

    rows = [
        {
            "tenant": entry.id,
            "count": entry.count,
            "path and rate": path_text(entry),
            "P(late) ≤": None if entry.log_bound is None else math.exp(entry.log_bound),
            "cost": entry.cost,
        }
        for entry in plan.tenants
    ]
    return html_table(headline(plan), rows if plan.has_plan else [], paragraph(plan))


def plan_figure(plan: Plan) -> Figure:
    """What of every domain is reserved, by its capacity, and how cost and bound came together."""
    drawn = figure(11.0, max(3.0, 0.28 * len(plan.domains) + 1.5))
    used, progress = drawn.subplots(1, 2)
    busy = sorted(plan.domains, key=lambda d: d.reserved / d.capacity if d.capacity else 0.0)
    shares = [100 * d.reserved / d.capacity if d.capacity else 0.0 for d in busy]
    used.barh([d.id for d in busy], shares, color=COLOURS[0])
    used.set(xlabel="reserved, % of capacity", xlim=(0, 105), title="domains")
    for name, colour in (("cost", COLOURS[1]), ("lower_bound", COLOURS[2])):
        known = [(row.round, value) for row in plan.history if (value := getattr(row, name)) is not None]
        if known:
            progress.plot(*zip(*known, strict=True), "o-", color=colour, label=name.replace("_", " "))
    if progress.get_lines():
        progress.legend()
    progress.set(xlabel="round", ylabel="cost", title="cost and its lower bound")
    progress.xaxis.get_major_locator().set_params(integer=True)
    for axis in (used, progress):
        axis.grid(alpha=0.3)
    drawn.suptitle(f"{plan.instance.name}: {plan.status}")
    return drawn


def tail_figure(title: str, rows: Sequence[tuple[str, float, float, float, float]]) -> Figure:
    """Violation probabilities with their intervals beside what was promised, on a logarithmic axis.

    Parameters
    ----------
    rows
        Name, estimate, lower and upper end of the interval, and the promise, of each tenant.
    """
    drawn = figure(8.0, max(3.0, 0.3 * len(rows) + 1.5))
    axis = drawn.subplots()
    least = min([value for row in rows for value in row[1:] if value > 0], default=1e-6) / 3
    for place, (_, estimate, low, high, promised) in enumerate(rows):
        axis.plot([max(low, least), max(high, least)], [place, place], color=COLOURS[0], lw=2)
        axis.plot(max(estimate, least), place, "o", color=COLOURS[0], label="" if place else "measured")
        axis.plot(promised, place, "|", ms=14, mew=2, color=COLOURS[1], label="" if place else "promised")
    axis.set(xscale="log", xlabel="probability of missing the deadline", title=title)
    axis.set_yticks(range(len(rows)), [row[0] for row in rows])
    axis.invert_yaxis()
    axis.grid(alpha=0.3)
    if rows:
        axis.legend()
    return drawn
