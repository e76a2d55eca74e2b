"""Solve one instance by several methods or guarantees and put the results side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedopt.cli import BAD_INPUT, DONE, INFEASIBLE, LIMIT
from fedopt.cli._options import (
    Gap,
    InstanceFile,
    Json,
    Objective,
    Out,
    Problems,
    Quiet,
    Seed,
    TimeLimit,
    problems_from,
)
from fedopt.cli._output import check_out, emit, fail, say, stdout_kept_clean
from fedopt.cli._progress import RoundProgress


def command(
    instance: InstanceFile,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            help="Methods, separated by commas: central, admm, bundle, model:NAME.",
            metavar="NAMES",
        ),
    ] = "central",
    guarantees: Annotated[
        str, typer.Option("--guarantees", help="Guarantees, separated by commas.", metavar="NAMES")
    ] = "minplus,split,paper-path",
    objective: Objective = "cost",
    gap: Gap = 1e-3,
    time_limit: TimeLimit = None,
    seed: Seed = 0,
    problem: Problems = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            help="Draw certified gap, residuals and disclosure by round to this PNG, SVG or PDF file.",
            metavar="FILE",
        ),
    ] = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Solve one instance by several methods or guarantees and put the results side by side.

    Per row: cost, lower bound, certified gap, wall-clock seconds, rounds, numbers exchanged between
    operators, the largest difference in reservations from the first row, and what the planner is shown: a
    central method or a model all private numbers (costs, capacities), a federated one what operators told
    it, and how many of those numbers were costs. The time limit holds for each row.

    Exit codes: 0 at least one plan, 2 bad input, 3 none and all infeasible, 4 none for another reason.

    Example: fedopt compare instances/quickstart.yaml --methods central,admm,bundle --guarantees minplus
    --plot convergence.png
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table

    from fedopt.cli._documents import read_instance
    from fedopt.compare import FORMATS, HEADINGS, cells, compare
    from fedopt.plan.present import figure

    check_out(out, [instance])
    check_out(plot, [instance])
    if plot is not None:
        if plot.suffix.lstrip(".").lower() not in FORMATS:
            fail(BAD_INPUT, f"--plot: {plot} must end with one of .{', .'.join(FORMATS)}")
        figure()  # before any work: is matplotlib there?
    if not _names(methods) or not _names(guarantees):
        fail(BAD_INPUT, "--methods and --guarantees: name one at least")
    document = read_instance(instance)
    with stdout_kept_clean(), RoundProgress(instance.name, quiet) as progress:
        comparison = compare(
            document,
            _names(methods),
            _names(guarantees),
            objective=objective,
            gap=gap,
            time_limit=time_limit,
            progress=progress,
            simulation={"seed": seed},
            **problems_from(problem),
        )
    if plot is not None:
        comparison.plot(plot)
        if not quiet:
            say(f"drawn to {plot}")
    texts = [cells(row) for row in comparison.rows]
    shown = [i for i in range(len(HEADINGS)) if i < 3 or any(text[i] != "–" for text in texts)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i in shown:
        table.add_column(HEADINGS[i], justify="left" if i < 3 else "right", no_wrap=True)
    for text in texts:
        table.add_row(*[text[i] for i in shown])
    notes = [f"{row.method}, {row.guarantee}: {row.problem}" for row in comparison.rows if row.problem]
    summary = comparison.to_markdown() if markdown else Group(table, *notes)
    emit(comparison, summary, json=json, out=out, quiet=quiet)
    states = {row.status for row in comparison.rows}
    if states & {"optimal", "feasible"}:
        raise typer.Exit(DONE)
    raise typer.Exit(INFEASIBLE if states == {"infeasible"} else LIMIT)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
