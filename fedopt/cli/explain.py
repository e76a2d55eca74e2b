"""Say why an instance is infeasible, or which constraints bind and what relaxing each is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedopt.cli import BAD_INPUT, DONE, LIMIT
from fedopt.cli._options import Guarantee, InstanceFile, Json, Out, Quiet
from fedopt.cli._output import check_out, emit, fail, stdout_kept_clean
from fedopt.cli._progress import RoundProgress


def command(
    instance: InstanceFile,
    guarantee: Guarantee = "minplus",
    plan: Annotated[
        Path | None, typer.Option("--plan", help="A plan of the instance; else it is solved.", metavar="PLAN")
    ] = None,
    time_limit: Annotated[
        float, typer.Option("--time-limit", help="Seconds for the solve, and then for the rest.", min=0.0)
    ] = 60.0,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say why an instance is infeasible, or which constraints bind and what relaxing each is worth.

    For an infeasible instance it names the tenants and the smallest changes (deadline, ε, capacity, policy),
    each of which was solved and found to help. Otherwise capacities come with their prices, the costliest
    tenants with what more time or a larger ε would save (each planned again at the plan's prices), and every
    deadline, ε, arrival, latency, κ and η with its shadow price: the derivative of the cost at the plan, or,
    where only whole slots count, what one slot more and one less change.

    Exit codes: 0 explained, feasible or not; 2 bad input; 4 the time was over before there was anything to
    say.

    Example: fedopt explain instances/quickstart.yaml
    """
    from fedopt.cli._documents import read_instance, read_pair
    from fedopt.explain import explain
    from fedopt.plan import MEASURED, check_guarantee

    check_out(out, [instance])
    if check_guarantee(guarantee) == MEASURED:
        fail(BAD_INPUT, f"{MEASURED} starts from a plan under minplus; explain that one: --guarantee minplus")
    if plan is None:
        known, document = None, read_instance(instance)
    else:
        known, document = read_pair(plan, instance)
    with stdout_kept_clean(), RoundProgress(instance.name, quiet):
        report = explain(document, guarantee, plan=known, seconds=time_limit)
    emit(report.to_dict(), report.text(), json=json, out=out, quiet=quiet)
    raise typer.Exit(LIMIT if report.status == "limit" else DONE)
