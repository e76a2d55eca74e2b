"""Plan an instance: who is served on which path, at which rates, at what cost, how near to the optimum.

Flags become the arguments of `fedopt.solve`; the rest is reading, reporting and exit codes.
"""

from __future__ import annotations

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedopt.cli import BAD_INPUT, DONE, INFEASIBLE, LIMIT
from fedopt.cli._options import (
    Address,
    Backend,
    Gap,
    Guarantee,
    InstanceFiles,
    Jobs,
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
from fedopt.cli._progress import RoundProgress, TrialProgress

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fedopt.instance import Instance
    from fedopt.plan import Plan
    from fedopt.sweep.workers import Workers

EXIT_CODES = {"optimal": DONE, "feasible": DONE, "infeasible": INFEASIBLE, "limit": LIMIT}


def command(
    instances: InstanceFiles,
    method: Annotated[
        str,
        typer.Option(
            "--method", help="central (default), admm, bundle or model:NAME_OR_PATH.", metavar="NAME"
        ),
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
    problem: Problems = None,
    jobs: Jobs = 1,
    backend: Backend = "loky",
    address: Address = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Plan an instance: who is served on which path, at which rates, at what cost, how near to the optimum.

    Under --guarantee simulated the reservations of minplus are scaled down to the least that simulation
    confirms (random numbers from --seed): a measurement, not a theorem.

    With --method admm or bundle a broker and the operators negotiate: no cost curve and no capacity is sent,
    and the plan's ledger says what was. --problem puts an operator's own cvxpy problem in the place of the
    costs and capacities that the instance states.

    With several instances, --out names a folder and --json prints a list; --jobs solves several at a time,
    in processes or on a cluster. A file that is refused does not stop the others. Ctrl-C stops at the best
    plan so far.

    Exit codes: 0 a plan, 2 bad input, 3 infeasible, 4 a limit was reached before any plan; of several the
    largest.

    Example: fedopt solve instances/quickstart.yaml --gap 1e-3 --out plan.json
    """
    if model is not None:
        if method not in ("central", f"model:{model}"):
            fail(BAD_INPUT, "--model and --method name different solvers; give one of them")
        method = f"model:{model}"
    options = {
        "guarantee": guarantee,
        "objective": objective,
        "gap": gap,
        "time_limit": time_limit,
        "simulation": {"seed": seed},
        **problems_from(problem),
    }
    if problem and (method not in ("admm", "bundle") or len(instances) > 1):
        fail(BAD_INPUT, "--problem belongs to one instance and the methods admm and bundle")
    from fedopt.sweep.workers import Workers

    workers = Workers(backend, jobs, address)
    if len(instances) > 1:
        raise typer.Exit(_many(instances, method, options, warm_start, workers, out, json, quiet))
    check_out(out, instances)
    if backend == "loky":
        plan, instance = _solve(instances[0], method, options, warm_start, quiet)
        text = _text(plan, json or quiet, instances[0], instance)
    else:
        plan = _elsewhere(instances[0], _Task(method, options, warm_start, quiet=True), workers)
        text = _text(plan, json or quiet, instances[0])
    emit(plan, text, json=json, out=out, quiet=quiet)
    raise typer.Exit(EXIT_CODES[plan.status])


def _many(
    files: list[Path],
    method: str,
    options: dict[str, object],
    warm_start: Path | None,
    workers: Workers,
    out: Path | None,
    json: bool,
    quiet: bool,
) -> int:
    """Solve every file, hand its plan over as it comes, and say the largest exit code."""
    from fedopt.plan import Plan

    names = [f"{file.stem}.plan.json" for file in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if out is not None and twice is not None:
        fail(BAD_INPUT, f"--out {out}: two instances would both be written to {twice}; rename one of them")
    plans: dict[int, Plan] = {}
    codes: list[int] = []
    alone = workers.backend == "loky" and workers.jobs == 1
    task = _Task(method, options, warm_start, quiet or not alone)
    with TrialProgress("instances", quiet or alone) as progress:
        for index, (text, code) in workers.run(task, files):
            codes.append(code)
            if code == BAD_INPUT:
                say(text)
            else:
                plans[index] = plan = Plan.loads(text, str(files[index]))
                target = None if out is None else out / names[index]
                emit(plan, _text(plan, json or quiet, files[index]), out=target, quiet=json or quiet)
            progress(len(codes), len(files))
    if json:
        emit([json_module.loads(plans[index].to_json()) for index in sorted(plans)], "", json=True)
    return max(codes)


@dataclass(frozen=True)
class _Task:
    """What is done with one file of several: (its plan as JSON, exit code), or (what is wrong, 2)."""

    method: str
    options: dict[str, object]
    warm_start: Path | None
    quiet: bool

    def __call__(self, file: Path) -> tuple[str, int]:
        try:
            plan, _ = _solve(file, self.method, self.options, self.warm_start, self.quiet)
        except Exception as error:
            if getattr(error, "exit_code", None) != BAD_INPUT:
                raise
            return str(error) if str(file) in str(error) else f"{file}: {error}", BAD_INPUT
        return plan.to_json(indent=None), EXIT_CODES[plan.status]


def _elsewhere(file: Path, task: _Task, workers: Workers) -> Plan:
    """The plan of one file, solved on a cluster."""
    from fedopt.plan import Plan

    ((_, (text, code)),) = workers.run(task, [file])
    if code == BAD_INPUT:
        fail(BAD_INPUT, text)
    return Plan.loads(text, str(file))


def _solve(
    file: Path, method: str, options: dict[str, object], warm_start: Path | None, quiet: bool
) -> tuple[Plan, Instance]:
    from fedopt.cli._documents import read_instance
    from fedopt.plan import Plan
    from fedopt.solve import solve

    start = Plan.load(warm_start) if warm_start is not None else None
    instance = read_instance(file)
    with stdout_kept_clean(), RoundProgress(file.name, quiet) as progress:
        plan = solve(instance, method, warm_start=start, progress=progress, **options)  # type: ignore[arg-type]
    return plan, instance


def _text(plan: Plan, silent: bool, file: Path, instance: Instance | None = None) -> RenderableType:
    """The summary of a plan, its rates in the units that its instance gives its stages."""
    from fedopt.cli._documents import read_instance
    from fedopt.plan.summary import summarize

    return "" if silent else summarize(plan, instance=instance or read_instance(file))
