"""Write a plan's report: one HTML page that needs nothing else, with simulation, audit and settlement."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from fedopt.cli._options import Json, OldInstance, OtherInstance, Out, PlanFile, Quiet
from fedopt.cli._output import check_out, emit, say


def command(
    plan: PlanFile,
    instance: OtherInstance = None,
    instance_option: OldInstance = None,
    simulation: Annotated[
        Path | None, typer.Option("--simulation", help="Result of fedopt simulate (JSON).")
    ] = None,
    audit: Annotated[Path | None, typer.Option("--audit", help="Result of fedopt audit (JSON).")] = None,
    settlement: Annotated[
        Path | None, typer.Option("--settlement", help="Result of fedopt settle (JSON).")
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="An earlier plan, to show what changed.", metavar="PLAN")
    ] = None,
    run: Annotated[
        str,
        typer.Option("--run", help="The run, where PLAN is a state file of operate.", metavar="NAME"),
    ] = "",
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            "--tenant",
            help="Draw this tenant's tail and budgets (repeatable); default: those that matter most.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Check the plan against its instance.")
    ] = True,
    explain_seconds: Annotated[
        float,
        typer.Option("--explain-seconds", help="Time for valuing what binds; 0: prices only.", min=0.0),
    ] = 20.0,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a plan's report: one self-contained HTML page that works from a file and offline.

    Map and stage graph with the chosen paths, totals by operator, difference to another plan, reservations
    against capacity, tail curves (bound, simulation, audit),
    deadline and risk budgets, what binds, convergence, disclosure, settlement. Without --out it lies beside
    the plan. --json prints what was written.

    In the place of a plan a state file of fedopt operate gives the report of its day: cost, tenants, late
    requests and events over time, verdicts, audits.

    Example: fedopt report plan.json instances/quickstart.yaml -o report.html
    """
    if _is_database(plan):
        _day(plan, run, out, json, quiet)
        return
    from fedopt.audit import Audit
    from fedopt.cli._documents import read_both
    from fedopt.plan import Plan
    from fedopt.report import Given, read_settlement, read_simulation, render
    from fedopt.storage import write_atomically

    instance = instance or instance_option
    decided, planned = read_both(plan, instance)
    files = {
        "plan": plan,
        "instance": instance,
        "simulation": simulation,
        "audit": audit,
        "settlement": settlement,
        "against": against,
    }
    target = out or plan.with_suffix(".html")
    check_out(target, [file for file in files.values() if file is not None])
    given = Given(
        plan=decided,
        instance=planned,
        simulation=None if simulation is None else read_simulation(simulation),
        audit=None if audit is None else Audit.load(audit),
        settlement=None if settlement is None else read_settlement(settlement),
        against=None if against is None else Plan.load(against),
        names={role: file.name for role, file in files.items() if file is not None},
    )
    started = time.monotonic()

    def progress(message: str) -> None:
        if not quiet and time.monotonic() - started > 2.0:
            say(f"{message} …")

    page = render(
        given,
        tenants=tenant or (),
        check=check,
        explain_seconds=explain_seconds,
        written=datetime.now(UTC),
        progress=progress,
    )
    write_atomically(target, page)
    document = {
        "file": str(target),
        "bytes": len(page.encode("utf-8")),
        "instance": given.plan.instance.name,
        "status": given.plan.status,
        "entries": len(given.plan.tenants),
        "given": sorted(given.names),
    }
    emit(document, f"wrote {target}", json=json, quiet=quiet)


def _is_database(file: Path) -> bool:
    """Whether a file is an SQLite database, as the state of a run is."""
    if not file.is_file():
        return False
    with open(file, "rb") as stream:
        return stream.read(15) == b"SQLite format 3"


def _day(state: Path, run: str, out: Path | None, json: bool, quiet: bool) -> None:
    """Write the report of a day of operation."""
    from fedopt.control import Store
    from fedopt.report.day import render_day
    from fedopt.storage import write_atomically

    target = out or state.with_suffix(".html")
    check_out(target, [state])
    with Store.read(state) as store:
        page = render_day(store, run, datetime.now(UTC))
    write_atomically(target, page)
    emit({"file": str(target), "bytes": len(page.encode("utf-8"))}, f"wrote {target}", json=json, quiet=quiet)
