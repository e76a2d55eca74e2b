"""Solve many instances, or one over a grid of values, on all cores or a cluster, to one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedopt.cli import BAD_INPUT, DONE, INFEASIBLE, LIMIT
from fedopt.cli._options import (
    Address,
    Backend,
    Gap,
    InstanceFiles,
    Jobs,
    Json,
    Objective,
    Quiet,
    Seed,
    TimeLimit,
)
from fedopt.cli._output import check_out, emit, fail, say, stdout_kept_clean
from fedopt.cli._progress import TrialProgress

SHOWN = 60
"""Rows that are printed; the table holds all."""


def command(
    instances: InstanceFiles,
    axes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A place of the instance and its values, separated by commas; may be given several times.",
            metavar="PLACE=VALUES",
        ),
    ] = None,
    methods: Annotated[
        str, typer.Option("--methods", help="Methods, separated by commas.", metavar="NAMES")
    ] = "central",
    guarantees: Annotated[
        str, typer.Option("--guarantees", help="Guarantees, separated by commas.", metavar="NAMES")
    ] = "minplus",
    objective: Objective = "cost",
    gap: Gap = 1e-3,
    time_limit: TimeLimit = None,
    seed: Seed = 0,
    jobs: Jobs = -1,
    backend: Backend = "loky",
    address: Address = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Table to write: .csv, .json or .parquet.", metavar="FILE"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the rows that --out already holds; solve the others.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Solve many instances, or one over a grid of values, on all cores or a cluster, to one table.

    A place is a dotted path of the instance: `tenants.chat.slo.deadline`, `domains.*.capacity`; every
    combination of the values given is solved, by every method under every guarantee. A row that is refused,
    infeasible or fails says so and stops nothing. --out is written as rows finish; after an interruption
    --resume goes on. The time limit holds for each row.

    Exit codes: 0 at least one plan, 2 bad input, 3 none and all infeasible, 4 none for another reason.

    Example: fedopt sweep instances/quickstart.yaml --set tenants.chat.slo.deadline=15,20 --out rows.csv
    """
    from fedopt.plan.guarantees import check_guarantee
    from fedopt.solve import check_method
    from fedopt.sweep import SweepError, Table, Workers, cases_of, parse_axis, sweep
    from fedopt.sweep.workers import WorkerLost

    check_out(out, instances)
    if resume and out is None:
        raise SweepError("--resume needs --out, the table to go on with")
    chosen = [check_guarantee(name) for name in _names(guarantees)]
    for method in _names(methods):
        check_method(method)
    table = Table(out) if out is not None else None
    workers = Workers(backend, jobs, address)
    cases = list(
        cases_of(
            map(_read, instances),
            [parse_axis(text) for text in axes or []],
            _names(methods),
            chosen,
            objective=objective,
            gap=gap,
            time_limit=time_limit,
            seed=seed,
        )
    )
    try:
        with stdout_kept_clean(), TrialProgress("rows", quiet) as progress:
            records = sweep(cases, workers, table, resume=resume, progress=progress)
    except (KeyboardInterrupt, WorkerLost) as error:
        reason = str(error) or "Interrupted"
        fail(LIMIT, f"{reason}; {out} holds what is done, --resume goes on" if out is not None else reason)
    if out is not None and not quiet:
        say(f"wrote {out}: {len(records)} rows")
    emit(records, _shown(records), json=json, quiet=quiet)
    states = {row["status"] for row in records}
    if states & {"optimal", "feasible"}:
        raise typer.Exit(DONE)
    if states == {"infeasible"}:
        raise typer.Exit(INFEASIBLE)
    raise typer.Exit(BAD_INPUT if states == {"refused"} else LIMIT)


def _read(file: Path) -> tuple[str, Any, str | None]:
    """(name, instance or None, why there is none)"""
    from fedopt.cli._documents import read_instance
    from fedopt.instance import InstanceError

    try:
        return str(file), read_instance(file), None
    except InstanceError as error:
        say(str(error))
        return str(file), None, " ".join(str(error).split())


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _shown(records: list[dict[str, Any]]) -> Any:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    from fedopt.plan.summary import format_gap

    hidden = {"key", "objective", "lower_bound", "problem"}
    names = [name for name in dict.fromkeys(n for row in records for n in row) if name not in hidden]
    names = [n for n in names if n in ("status", "cost") or len({str(row.get(n)) for row in records}) > 1]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name.replace("_", " "))
    for row in records[:SHOWN]:
        cells = []
        for name in names:
            value = row.get(name)
            if name == "gap" and value is not None:
                cells.append(format_gap(value))
            else:
                cells.append(
                    "–" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
                )
        table.add_row(*cells)
    notes = [f"… and {len(records) - SHOWN} more rows"] if len(records) > SHOWN else []
    problems = dict.fromkeys(str(row["problem"]) for row in records if row["problem"])
    return Group(table, *notes, *list(problems)[:10])
