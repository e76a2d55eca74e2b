"""Resolve an intent: the AI model, path and SLO that serve it, and why every alternative lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedopt.cli import DONE, INFEASIBLE
from fedopt.cli._options import InstanceFile, Json, Out, Quiet
from fedopt.cli._output import check_out, emit


def command(
    intent: Annotated[Path, typer.Argument(help="Intent file (YAML or JSON).", metavar="INTENT")],
    instance: InstanceFile,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", help="The plan in force: its room and prices count.", metavar="PLAN"),
    ] = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Resolve an intent: the AI model, path and SLO that serve it, and why every alternative lost.

    Exit codes: 0 resolved, 2 bad input, 3 nothing can serve it.

    Example: fedopt intent instances/scenarios/chat-intent.yaml instances/city.yaml
    """
    from fedopt.control.intents import load_intent, resolve
    from fedopt.instance import load
    from fedopt.plan import Plan

    check_out(out, [file for file in (intent, instance, plan) if file is not None])
    found = resolve(load_intent(intent), load(instance), None if plan is None else Plan.load(plan))
    emit(found.to_dict(), found.to_text(), json=json, out=out, quiet=quiet)
    raise typer.Exit(DONE if found.resolved else INFEASIBLE)
