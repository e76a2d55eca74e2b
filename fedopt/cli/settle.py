"""Settle a plan: revenue and penalty per domain, conserved to the cent, with a statement for each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fedopt.cli import BAD_INPUT
from fedopt.cli._options import Json, OldInstance, OtherInstance, Out, PlanFile, Quiet
from fedopt.cli._output import check_out, emit, fail


def command(
    plan: PlanFile,
    audit: Annotated[Path, typer.Option(help="Audit (JSON) of the period's telemetry.")],
    instance: OtherInstance = None,
    instance_option: OldInstance = None,
    degraded: Annotated[
        list[Path] | None,
        typer.Option(help="Audited contract (JSON) of a domain that did not deliver (repeatable)."),
    ] = None,
    rule: Annotated[
        Literal["marginal", "shapley", "proper"],
        typer.Option(help="marginal (the paper's), shapley, or proper (declaring the truth pays best)."),
    ] = "marginal",
    guarantee: Annotated[
        Literal["minplus", "paper-path"], typer.Option(help="Guarantee whose score counts.")
    ] = "minplus",
    period: Annotated[str, typer.Option(help="Name of the period, for the statements.")] = "",
    statements: Annotated[
        Path | None,
        typer.Option(help="Folder for one statement per domain, which reveals nothing of the others."),
    ] = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Settle a plan: payments to the domains that earned them, refunds from the domains that caused them.

    Shares by the paper's marginal rule or by the Shapley value, the other one beside it; money is conserved
    to the cent.

    Example: fedopt settle plan.json instances/quickstart.yaml --audit audit.json
    """
    from fedopt.audit import Audit
    from fedopt.audit.settlement import settle, summary, verdicts_of
    from fedopt.cli._documents import read_pair
    from fedopt.contracts.document import read_contract

    instance = instance or instance_option
    if instance is None:
        fail(BAD_INPUT, "name the instance that the plan is for: fedopt settle PLAN INSTANCE --audit AUDIT")
    check_out(out, [plan, instance, audit])
    document, against = read_pair(plan, instance)
    settlement = settle(
        against,
        document,
        verdicts_of(Audit.load(audit), document),
        degraded=[read_contract(path) for path in degraded or ()],
        rule=rule,
        guarantee=guarantee,
        period=period,
    )
    if statements is not None:
        for number, domain in enumerate(sorted(settlement.net), 1):
            settlement.statement(domain).save(statements / f"{number:03d}.json")
    emit(settlement, summary(settlement), json=json, out=out, quiet=quiet)
