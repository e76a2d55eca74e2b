"""Option and argument types shared by the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fedopt.cli._output import fail

InstanceFile = Annotated[Path, typer.Argument(help="Instance file (YAML or JSON).", metavar="INSTANCE")]
InstanceFiles = Annotated[
    list[Path], typer.Argument(help="Instance files (YAML or JSON).", metavar="INSTANCE")
]
OtherInstance = Annotated[
    Path | None,
    typer.Argument(help="The instance that the plan is for (YAML or JSON).", metavar="INSTANCE"),
]
OldInstance = Annotated[Path | None, typer.Option("--instance", "-i", hidden=True)]
"""How some commands named the instance before it was positional everywhere."""
PlanFile = Annotated[Path, typer.Argument(help="Plan file (JSON).", metavar="PLAN")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no summary.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write the result to this file, atomically.", metavar="FILE"),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.", min=0)]
Guarantee = Annotated[
    str,
    typer.Option(
        "--guarantee",
        help="minplus (default), one of its forms as minplus:FORM (image, ville, block-ville, fine, "
        "monotone, block), split, paper-path, paper-local or simulated (a measurement, not a theorem).",
        metavar="NAME",
    ),
]
Objective = Annotated[
    Literal["cost", "profit"],
    typer.Option(
        "--objective", help="cost: serve all at least cost; profit: admit what pays.", metavar="NAME"
    ),
]
Gap = Annotated[float, typer.Option("--gap", help="Relative gap to certify.", min=0.0)]
TimeLimit = Annotated[
    float | None,
    typer.Option(
        "--time-limit", help="Time limit in seconds; the best plan found by then is returned.", min=0.0
    ),
]
Problems = Annotated[
    list[str] | None,
    typer.Option(
        "--problem",
        help="An operator's private problem in cvxpy (admm, bundle); several allowed.",
        metavar="OPERATOR=FILE:FUNCTION",
    ),
]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", help="Solves at a time; -1: one a core, or all that a cluster takes.")
]
Backend = Annotated[
    str,
    typer.Option("--backend", help="loky (processes of this machine), dask or ray.", metavar="NAME"),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Scheduler of a cluster, such as tcp://10.0.0.1:8786.", metavar="URL"),
]
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
            fail(2, f"--work {text}: write COLUMN=WEIGHT")
    return weights


def problems_from(given: list[str] | None) -> dict[str, Any]:
    """The functions named by --problem, by operator; nothing for nothing. Raises InputError."""
    if not given:
        return {}
    from fedopt.errors import InputError
    from fedopt.federated.problem import build_from

    problems = {}
    for text in given:
        operator, equals, place = text.partition("=")
        if not equals or not operator:
            raise InputError(f"--problem {text}: name it as OPERATOR=FILE:FUNCTION")
        problems[operator] = build_from(place)
    return {"problems": problems}
