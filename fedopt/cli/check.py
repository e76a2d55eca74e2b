"""Verify a plan with code that shares nothing with the solvers but the calculus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedopt.cli import BAD_INPUT, BROKEN, DONE
from fedopt.cli._options import Json, Out, PlanFile, Quiet
from fedopt.cli._output import check_out, emit, fail, stdout_kept_clean


def command(
    plan: PlanFile,
    instance: Annotated[
        Path | None,
        typer.Argument(
            help="The instance it is for; without it only the plan's own arithmetic is checked.",
            metavar="INSTANCE",
        ),
    ] = None,
    private: Annotated[
        list[Path] | None,
        typer.Option(
            "--private",
            help="Private part of an operator: its private.yaml, its agent.yaml, or a folder of such; "
            "several allowed. A brokered plan is then checked in full.",
            metavar="PATH",
        ),
    ] = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verify a plan: policy, paths, rates, capacity, isolation, guarantee, shares, counts, cost, bound and
    gap.

    Everything is recomputed from the instance; nothing that the plan states is believed. A brokered plan is
    checked against the public instance; with --private for every operator also its rates, capacities and
    cost.

    Exit codes: 0 correct, 2 bad input, 5 something is wrong.

    Example: fedopt check plan.json instances/quickstart.yaml

    Example: fedopt check plan.json federation/broker/public.yaml --private federation
    """
    from fedopt.cli._documents import read_both
    from fedopt.plan import check

    check_out(out, [plan, instance] if instance else [plan])
    document, against = read_both(plan, instance)
    with stdout_kept_clean():
        if private:
            from fedopt.federated.checking import check_with_private
            from fedopt.federated.transport.config import private_parts

            if against is None:
                fail(BAD_INPUT, "--private needs the public instance that the plan is for")
            report = check_with_private(document, against, *private_parts(private))
        else:
            report = check(document, against)
    text = report.text()
    if not document.has_plan:
        text += f" The plan's status is {document.status}: it promises nothing."
    emit(report.to_dict(), text, json=json, out=out, quiet=quiet)
    raise typer.Exit(DONE if report.ok else BROKEN)
