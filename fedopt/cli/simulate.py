"""Simulate a plan: violation probabilities and tail delays per tenant, with intervals, beside the bounds.

Every admitted tenant's whole requests cross its path at its reserved rates, with impairments that carry over,
until it is decided whether the promise is kept.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedopt.cli import BAD_INPUT, BROKEN, DONE
from fedopt.cli._options import Json, Out, PlanFile, Quiet, Seed
from fedopt.cli._output import check_out, emit, fail, say

if TYPE_CHECKING:
    from fedopt.instance import Instance
    from fedopt.plan import Plan


class Model(StrEnum):
    """What is simulated."""

    REQUESTS = "requests"
    FLUID = "fluid"


def command(
    plan: PlanFile,
    instance: Annotated[
        Path, typer.Argument(help="The instance that the plan is for (YAML or JSON).", metavar="INSTANCE")
    ],
    model: Annotated[
        Model,
        typer.Option(
            "--model", help="Whole requests in continuous time, or the fluid in slots of the calculus."
        ),
    ] = Model.REQUESTS,
    slots: Annotated[
        int | None,
        typer.Option(
            "--slots", help="Simulated slots per tenant, all trials together. Default: until decided.", min=1
        ),
    ] = None,
    budget: Annotated[
        int, typer.Option("--budget", help="Requests per tenant after which it stays undecided.", min=1000)
    ] = 5_000_000,
    trials: Annotated[int, typer.Option("--trials", help="Independent trials per tenant.", min=2)] = 32,
    confidence: Annotated[
        float, typer.Option("--confidence", help="Confidence of every interval.", min=0.5, max=0.999999)
    ] = 0.95,
    quantile: Annotated[
        list[float] | None,
        typer.Option("--quantile", help="Delay quantile to report, e.g. 0.999. Repeatable.", metavar="P"),
    ] = None,
    traffic: Annotated[
        list[str] | None,
        typer.Option(
            "--traffic",
            help="Replay a recorded trace as a tenant's arrivals; TENANT=FILE:TIME:WORK names the "
            "columns. Repeatable.",
            metavar="TENANT=FILE",
        ),
    ] = None,
    telemetry: Annotated[
        Path | None,
        typer.Option(
            "--telemetry",
            help="Write the delays of simulated requests, one a row, to this CSV file for fedopt audit.",
            metavar="FILE",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Threads; the result does not depend on it.", min=1)
    ] = None,
    seed: Seed = 0,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a plan: violation probabilities and tail delays per tenant, with intervals, beside the bounds.

    Exit codes: 0 no promise is broken, 2 bad input, 5 a promise (or a proven bound) is broken.

    Example: fedopt simulate plan.json instances/quickstart.yaml --seed 1
    """
    from fedopt.cli._documents import read_pair
    from fedopt.cli._progress import TrialProgress
    from fedopt.simulate import simulate

    check_out(out, [plan, instance])
    check_out(telemetry, [plan, instance])
    decided, document = read_pair(plan, instance)
    if not decided.has_plan:
        fail(BAD_INPUT, f"{plan} holds no plan (status {decided.status}), so there is nothing to simulate")
    wanted = tuple(sorted(set(quantile or (0.99, 0.999))))
    if not all(0 < p < 1 for p in wanted):
        fail(BAD_INPUT, "--quantile: a number strictly between 0 and 1, such as 0.999")
    replaced = dict(_trace(text, document) for text in traffic or [])
    with TrialProgress("trials", quiet) as progress:
        result = simulate(
            decided,
            document,
            model=model.value,
            slots=slots,
            budget=budget,
            trials=trials,
            seed=seed,
            threads=threads,
            confidence=confidence,
            probabilities=wanted,
            arrivals=replaced,
            progress=progress,
        )
    if telemetry is not None:
        _write_telemetry(telemetry, decided, document, seed, replaced, quiet)
    emit(result, result.to_text(), json=json, out=out, quiet=quiet)
    raise typer.Exit(DONE if result.ok else BROKEN)


def _write_telemetry(
    file: Path, plan: Plan, instance: Instance, seed: int, arrivals: dict[str, Any], quiet: bool
) -> None:
    """The delays of simulated requests as rows `tenant,delay`."""
    from fedopt.simulate.telemetry import telemetry
    from fedopt.storage import write_atomically

    lines, rows = ["tenant,delay"], 0
    for tenant, delays in telemetry(plan, instance, seed=seed, arrivals=arrivals):
        if isinstance(delays, str):
            say(f"{tenant}: no telemetry: {delays}")
            continue
        name = '"' + tenant.replace('"', '""') + '"'
        lines += [f"{name},{delay:.9g}" for delay in delays]
        rows += len(delays)
    write_atomically(file, "\n".join(lines) + "\n")
    if not quiet:
        say(f"wrote {file}: {rows:,} requests")


def _trace(text: str, instance: Instance) -> tuple[str, Any]:
    from fedopt.laws.trace import read_trace

    name, equals, rest = text.partition("=")
    if not equals or name not in {tenant.id for tenant in instance.tenants}:
        fail(BAD_INPUT, f"--traffic {text}: write TENANT=FILE with one of the instance's tenants")
    parts = rest.split(":")
    file, time, work = (*parts, None, None)[:3]
    unit = instance.units.time
    slot = {"slot": None, "µs": "us"}.get(unit, unit)
    trace = read_trace(Path(str(file)), time, work, instance.slot, slot)
    for note in trace.notes:
        say(f"{file}: {note}")
    return name, trace
