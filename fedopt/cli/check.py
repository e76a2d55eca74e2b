"""Verify a plan with code that shares nothing with the solvers but the calculus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedopt.cli import BROKEN, DONE
from fedopt.cli._options import Json, Out, PlanFile, Quiet
from fedopt.cli._output import check_out, emit, stdout_kept_clean


def command(
    plan: PlanFile,
    instance: Annotated[
        Path | None,
        typer.Argument(
            help="The instance it is for; without it only the plan's own arithmetic is checked.",
            metavar="INSTANCE",
        ),
    ] = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verify a plan: policy, paths, rates, capacity, isolation, guarantee, shares, counts, cost, bound and
    gap.

    Everything is recomputed from the instance; nothing that the plan states is believed.

    Exit codes: 0 correct, 2 bad input, 5 something is wrong.

    Example: fedopt check plan.json instances/quickstart.yaml
    """
    from fedopt.cli._documents import read_both
    from fedopt.plan import check

    check_out(out, [plan, instance] if instance else [plan])
    document, against = read_both(plan, instance)
    with stdout_kept_clean():
        report = check(document, against)
    text = report.text()
    if not document.has_plan:
        text += f" The plan's status is {document.status}: it promises nothing."
    emit(report.to_dict(), text, json=json, out=out, quiet=quiet)
    raise typer.Exit(DONE if report.ok else BROKEN)
