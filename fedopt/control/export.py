"""The tables of a state file as Parquet files, and the trade-off in V as a plot."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from fedopt.control.store import StateError, Store, column_types
from fedopt.control.summary import trade_off
from fedopt.storage import write_atomically

__all__ = ["export_parquet", "plot_trade_off"]


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
