"""Plan an instance: who is served on which path, at which rates, at what cost, how near to the optimum.

Flags become the arguments of `fedopt.solve`; the rest is reading, reporting and exit codes.
"""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedopt.cli import BAD_INPUT, DONE, INFEASIBLE, LIMIT
from fedopt.cli._options import Gap, Guarantee, InstanceFiles, Json, Objective, Out, Quiet, Seed, TimeLimit
from fedopt.cli._output import check_out, emit, fail, say, stdout_kept_clean
from fedopt.cli._progress import RoundProgress

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fedopt.plan import Plan

EXIT_CODES = {"optimal": DONE, "feasible": DONE, "infeasible": INFEASIBLE, "limit": LIMIT}


def command(
    instances: InstanceFiles,
    method: Annotated[
        str, typer.Option("--method", help="central (default) or model:NAME_OR_PATH.", metavar="NAME")
    ] = "central",
    model: Annotated[
        str | None, typer.Option("--model", help="Short for --method model:NAME_OR_PATH.", metavar="NAME")
    ] = None,
    guarantee: Guarantee = "minplus",
    objective: Objective = "cost",
    gap: Gap = 1e-3,
    time_limit: TimeLimit = None,
    seed: Seed = 0,
    warm_start: Annotated[
        Path | None, typer.Option("--warm-start", help="An earlier plan to start from.", metavar="PLAN")
    ] = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Plan an instance: who is served on which path, at which rates, at what cost, how near to the optimum.

    Under --guarantee simulated the reservations of minplus are scaled down to the least that simulation
    confirms (random numbers from --seed): a measurement, not a theorem.

    With several instances, --out names a folder and --json prints a list. Ctrl-C stops at the best plan so
    far.

    Exit codes: 0 a plan, 2 bad input, 3 infeasible, 4 a limit was reached before any plan; of several the
    largest.

    Example: fedopt solve instances/quickstart.yaml --gap 1e-3 --out plan.json
    """
    from fedopt.instance import InstanceError

    if model is not None:
        if method not in ("central", f"model:{model}"):
            fail(BAD_INPUT, "--model and --method name different solvers; give one of them")
        method = f"model:{model}"
    if len(instances) == 1:
        check_out(out, instances)
    options = {
        "guarantee": guarantee,
        "objective": objective,
        "gap": gap,
        "time_limit": time_limit,
        "simulation": {"seed": seed},
    }
    plans: list[Plan] = []
    codes: list[int] = []
    for file in instances:
        try:
            plan = _solve(file, method, options, warm_start, quiet)
        except InstanceError as error:
            if len(instances) == 1:
                raise
            say(str(error))
            codes.append(BAD_INPUT)
            continue
        plans.append(plan)
        codes.append(EXIT_CODES[plan.status])
        if len(instances) > 1:
            _report(plan, out / f"{file.stem}.plan.json" if out is not None else None, json, quiet)
    if len(instances) == 1:
        emit(plans[0], _text(plans[0], json or quiet), json=json, out=out, quiet=quiet)
    elif json:
        emit([json_module.loads(plan.to_json()) for plan in plans], "", json=True)
    raise typer.Exit(max(codes))


def _solve(file: Path, method: str, options: dict[str, object], warm_start: Path | None, quiet: bool) -> Plan:
    from fedopt.instance import load
    from fedopt.plan import Plan
    from fedopt.solve import solve

    start = Plan.load(warm_start) if warm_start is not None else None
    instance = load(file)
    with stdout_kept_clean(), RoundProgress(file.name, quiet) as progress:
        return solve(instance, method, warm_start=start, progress=progress, **options)  # type: ignore[arg-type]


def _report(plan: Plan, out: Path | None, json: bool, quiet: bool) -> None:
    emit(plan, _text(plan, json or quiet), out=out, quiet=json or quiet)


def _text(plan: Plan, silent: bool) -> RenderableType:
    from fedopt.plan.summary import summarize

    return "" if silent else summarize(plan)
