"""Look into the state file of a run, without changing it: tables, rows, and their export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedopt.cli import DONE
from fedopt.cli._options import Json, Out, Quiet
from fedopt.cli._output import check_out, emit, say

StateFile = Annotated[Path, typer.Argument(help="State file of fedopt operate.", metavar="STATE")]

DOCUMENTS = ("plan", "instance", "audit", "settlement")


def command(
    state: StateFile,
    table: Annotated[
        str | None,
        typer.Argument(
            help="periods, events, members, tallies, plans, contracts, audits, settlements, answers or "
            "learned; without it, what the file holds.",
            metavar="TABLE",
        ),
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="Only this run.", metavar="NAME")] = None,
    period: Annotated[
        int | None, typer.Option("--period", help="Only this period.", min=0, metavar="N")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Only this tenant (tables that name one).", metavar="ID")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many rows.", min=1, metavar="N")] = 1000,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write every table as Parquet to this folder.", metavar="FOLDER"),
    ] = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look into the state file of a run, without changing it: tables, rows, and their export.

    The file may be in use by a run: what is read is whole periods. Documents (plans, audits, settlements)
    are shown by --json alone.

    Example: fedopt state city-day.state.db events --run fedopt --json
    """
    from fedopt.control.store import Store
    from fedopt.control.summary import summarize
    from fedopt.control.summary import table as table_of

    check_out(out, [state])
    with Store.read(state) as store:
        if export is not None:
            from fedopt.control.summary import export_parquet

            files = export_parquet(store, export)
            emit(
                [str(file) for file in files],
                f"wrote {len(files)} tables to {export}",
                json=json,
                quiet=quiet,
            )
            raise typer.Exit(DONE)
        if table is None:
            rows = summarize(store)
            answer = {**store.identity(), "runs": [row.to_dict() for row in rows]}
            emit(answer, table_of(rows), json=json, out=out, quiet=quiet)
            raise typer.Exit(DONE)
        found = store.select(table, run=run, period=period, tenant=tenant, limit=limit + 1)
        if len(found) > limit:
            found = found[:limit]
            if not quiet:
                say(f"Only the first {limit:,} rows; --limit N asks for more.")
        emit(found, _text(found), json=json, out=out, quiet=quiet)


def _text(rows: list[dict[str, Any]]) -> str:
    """Rows as lines, without documents."""
    if not rows:
        return "no rows"
    shown = [name for name in rows[0] if name not in DOCUMENTS]
    lines = [shown, *([_cell(row[name]) for name in shown] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(shown))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    text = "–" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"
