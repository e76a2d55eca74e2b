"""Options of the commands that read a record: which columns hold the times and the work."""

from __future__ import annotations

from typing import Annotated

import typer

from fedopt.cli import BAD_INPUT
from fedopt.cli._output import fail

Time = Annotated[
    str | None, typer.Option("--time", help="Column of times (default: the first).", metavar="COLUMN")
]
Work = Annotated[
    list[str] | None,
    typer.Option(
        "--work",
        help="Work is the weighted sum of such columns, e.g. token counts; default one work per row.",
        metavar="COLUMN=WEIGHT",
    ),
]


def work_weights(work: list[str] | None) -> dict[str, float]:
    """The texts COLUMN=WEIGHT of --work by column; ends with exit code 2 for anything else."""
    weights: dict[str, float] = {}
    for text in work or []:
        column, equals, weight = text.rpartition("=")
        try:
            weights[column] = float(weight)
        except ValueError:
            equals = ""
        if not equals or not column:
            fail(BAD_INPUT, f"--work {text}: write COLUMN=WEIGHT")
    return weights
