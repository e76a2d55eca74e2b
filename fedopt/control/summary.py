"""What the runs of a state file come to, a row a run; tables as Parquet, the trade-off in V as a plot."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedopt.control.sessions import sessions
from fedopt.control.settings import SETTINGS
from fedopt.control.store import StateError, Store, column_types
from fedopt.storage import write_atomically

__all__ = ["Row", "export_parquet", "plot_trade_off", "summarize", "table", "trade_off"]


@dataclass(frozen=True)
class Row:
    """One run. Tenants are counted by what holds of their whole session (see `sessions`).

    proven: of whom a theorem says, at the domains' true laws, that the probability of being late is at most
    ε; met: whose late requests are at most ε of all; kept, undecided, broken: whose probability of being late
    is at most ε, may be, or is above it, at 95 % confidence. learned: who crossed a domain without a
    contract in some period, so that their promise was learned in part. cost: mean of the periods; gap:
    largest certified gap of a period's plan, None where plans carry no certificate. planned, patched: periods
    that were planned anew, or in which the plan was patched; moved: tenants that were given another path or
    other rates. disclosed: numbers that crossed a domain's boundary. received: payments less refunds, in
    cents.
    """

    run: str
    periods: int
    admitted: int
    refused: int
    proven: int
    met: int
    kept: int
    undecided: int
    broken: int
    learned: int
    late: float
    cost: float
    gap: float | None
    planned: int
    patched: int
    moved: int
    disclosed: int
    received: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def summarize(store: Store) -> list[Row]:
    """A row for every run, in the order of their first period."""
    runs = dict.fromkeys(row["run"] for row in store.rows("periods", where="period = 0"))
    return [_row(store, run) for run in runs]


def _row(store: Store, run: str) -> Row:
    periods = store.rows("periods", run)
    members = store.rows("members", run)
    whole = sessions(store, run)
    found = [session.verdict for session in whole]
    gaps = [row["gap"] for row in periods if row["gap"] is not None]
    requests = float(sum(row["requests"] for row in periods))
    return Row(
        run=run,
        periods=len(periods),
        admitted=len(found),
        refused=sum(not row["admitted"] for row in members),
        proven=sum(session.proven for session in whole),
        met=sum(session.share <= session.epsilon for session in whole),
        kept=found.count("kept"),
        undecided=found.count("undecided"),
        broken=found.count("broken"),
        learned=sum(session.learned for session in whole),
        late=float(sum(row["late"] for row in periods)) / requests if requests else 0.0,
        cost=float(np.mean([row["cost"] for row in periods])),
        gap=max(gaps) if gaps else None,
        planned=sum(row["mode"] == "planned" for row in periods),
        patched=sum(row["mode"] == "patched" for row in periods),
        moved=sum(row["moved"] for row in periods),
        disclosed=sum(row["disclosed"] for row in periods),
        received=sum(row["received"] for row in periods),
    )


def trade_off(store: Store) -> list[dict[str, float]]:
    """Cost against backlog in V: a row for each run that names a V, ascending."""
    rows = []
    for run in store.runs():
        _, named, v = run.partition(" V=")
        if named:
            periods = store.rows("periods", run)
            rows.append(
                {
                    "v": float(v),
                    "cost": float(np.mean([row["cost"] for row in periods])),
                    "late_backlog": float(np.mean([row["late_backlog"] for row in periods])),
                    "cost_backlog": float(np.mean([row["cost_backlog"] for row in periods])),
                    "late": sum(r["late"] for r in periods) / max(sum(r["requests"] for r in periods), 1.0),
                }
            )
    return sorted(rows, key=lambda row: row["v"])


HEADINGS: Mapping[str, str] = {
    "run": "run",
    "admitted": "admitted",
    "refused": "refused",
    "proven": "proven",
    "met": "met",
    "kept": "kept",
    "undecided": "undecided",
    "broken": "broken",
    "learned": "learned",
    "late": "late",
    "cost": "cost",
    "gap": "gap",
    "planned": "planned",
    "patched": "patched",
    "moved": "moved",
    "disclosed": "numbers",
    "received": "received",
}


def table(rows: list[Row]) -> str:
    """The rows as a plain table."""
    lines = [list(HEADINGS.values())]
    for row in rows:
        shown = row.to_dict() | {
            "late": f"{row.late:.2e}",
            "cost": f"{row.cost:.6g}",
            "gap": "–" if row.gap is None else f"{100 * row.gap:.2g} %",
            "received": f"{row.received / 100:.2f}",
        }
        lines.append([str(shown[name]) for name in HEADINGS])
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    text = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    text.append("")
    text.append(
        "Of each admitted tenant's whole session: proven: late with a probability of at most ε, by a\n"
        "theorem at the domains' true laws; met: at most ε of its requests were late; kept, undecided,\n"
        "broken: by that theorem and, in periods where it does not reach, by replays of "
        f"{SETTINGS.replays} times\ntheir length (by the late requests, where nothing can be replayed), at "
        f"{SETTINGS.session_confidence:.0%} confidence."
    )
    if any(row.learned for row in rows):
        text.append(
            "learned: tenants that crossed a domain without a contract; that part of their promise is learned"
            " from answers, all else is a theorem under the contracts in force."
        )
    return "\n".join(text)


def export_parquet(store: Store, folder: str | Path) -> list[Path]:
    """Write one Parquet file per table into a folder; documents become JSON text. Returns the files.

    Columns have the types that the tables declare, whether there are rows or not.
    Raises ImportError naming the extra where pyarrow is missing.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow: pip install 'fedopt[telemetry]'") from error
    kinds = {"TEXT": pa.string(), "BLOB": pa.string(), "INTEGER": pa.int64(), "REAL": pa.float64()}
    written = []
    for name, columns, rows in store.tables():
        schema = pa.schema([(column, kinds[kind]) for column, kind in column_types(name).items()])
        values = list(zip(*rows, strict=True)) if rows else [() for _ in columns]
        arrays = {column: list(cells) for column, cells in zip(columns, values, strict=True)}
        content = pa.table(arrays, schema=schema)
        buffer = io.BytesIO()
        parquet.write_table(content, buffer)
        written.append(write_atomically(Path(folder) / f"{name}.parquet", buffer.getvalue()))
    return written


def plot_trade_off(store: Store, path: str | Path) -> Path:
    """Plot cost and backlogs against V. Raises StateError where fewer than two runs name a V.

    Raises ImportError naming the extra where matplotlib is missing.
    """
    rows = trade_off(store)
    if len(rows) < 2:
        raise StateError("a plot in V needs runs at two values or more: fedopt operate SCENARIO --v 1,10,100")
    try:
        import matplotlib.figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'fedopt[plot]'") from error
    figure: Any = matplotlib.figure.Figure(figsize=(6.4, 4.0), layout="constrained")
    left = figure.add_subplot()
    right = left.twinx()
    v = [row["v"] for row in rows]
    left.plot(v, [row["cost"] for row in rows], "o-", color="#0072B2", label="cost per period")
    right.plot(
        v, [row["late_backlog"] for row in rows], "s--", color="#D55E00", label="backlog, late requests"
    )
    if any(row["cost_backlog"] > 0 for row in rows):
        right.plot(v, [row["cost_backlog"] for row in rows], "^:", color="#009E73", label="backlog, money")
    left.set(xscale="log", xlabel="V", ylabel="mean cost of a period")
    right.set_ylabel("mean backlog")
    handles = [*left.get_lines(), *right.get_lines()]
    left.legend(handles, [line.get_label() for line in handles], loc="upper center", fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=Path(path).suffix.lstrip(".") or "png", dpi=150)
    return write_atomically(path, buffer.getvalue())
