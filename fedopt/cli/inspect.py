"""Say what a file holds (instance, plan, contract, telemetry, …), in words and a small picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedopt.cli._options import Json, Out, Quiet
from fedopt.cli._output import check_out, emit


def command(
    file: Annotated[Path, typer.Argument(help="Any file that fedopt reads or writes.", metavar="FILE")],
    rows: Annotated[int, typer.Option("--rows", help="Rows of a list to show.", min=1)] = 20,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what a file holds, in words and a small picture: an instance, plan, contract (signed or not), key,
    audit, simulation, settlement, scenario, intent, telemetry, a history of answers, or a state file.

    Exit codes: 0 done, 2 the file cannot be read or is not what it seems to be.

    Example: fedopt inspect instances/quickstart.yaml
    """
    from fedopt.cli._documents import found
    from fedopt.inspection import inspect

    check_out(out, [file])
    inspection = inspect(found(file), rows)
    emit(inspection.to_dict(), inspection.text, json=json, out=out, quiet=quiet)
