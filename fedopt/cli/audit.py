"""Audit telemetry: extreme quantiles with intervals, diagnostics, the verdict on a promise, drift."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fedopt.cli import BROKEN, DONE
from fedopt.cli._options import Json, OldInstance, Out, Quiet
from fedopt.cli._output import check_out, emit, fail, say

if TYPE_CHECKING:
    from fedopt.audit import Audit


def command(
    telemetry: Annotated[
        Path,
        typer.Argument(
            help="Delays of requests: delimited text, JSON, Parquet, or what load generators write.",
            metavar="TELEMETRY",
        ),
    ],
    instance: Annotated[
        Path | None, typer.Argument(help="Instance with the tenants' SLOs.", metavar="INSTANCE")
    ] = None,
    instance_option: OldInstance = None,
    plan: Annotated[Path | None, typer.Option(help="Plan whose promises are judged; needs INSTANCE.")] = None,
    deadline: Annotated[
        float | None, typer.Option(help="Promised delay, in the telemetry's unit; with --epsilon.", min=0.0)
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="Promised probability of a longer delay.", min=1e-12, max=0.5)
    ] = None,
    value: Annotated[
        str | None, typer.Option(help="Column of the delays; found by the format or its name if not given.")
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            help="Unit of the deadline (ns, us, ms, s, min, h): delays whose unit is stated are converted. "
            "Default: the instance's, or as the telemetry states them."
        ),
    ] = None,
    ignore_failed: Annotated[
        bool, typer.Option(help="Leave out requests that did not come back; they count as late otherwise.")
    ] = False,
    time: Annotated[str | None, typer.Option(help="Column of the times.")] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Column to tell series apart (repeatable); tenant, domain, run if not given."),
    ] = None,
    quantile: Annotated[list[float] | None, typer.Option(help="Quantile to bound (repeatable).")] = None,
    confidence: Annotated[
        float, typer.Option(help="Of every two-sided interval.", min=0.5, max=0.9999)
    ] = 0.95,
    threshold: Annotated[float | None, typer.Option(help="Fix the threshold instead of choosing it.")] = None,
    grid: Annotated[
        float | None, typer.Option(help="Width of the rounding grid; found if not given, 0: none.", min=0.0)
    ] = None,
    rounding: Annotated[
        Literal["nearest", "down", "up"], typer.Option(help="How values were rounded: nearest, down or up.")
    ] = "nearest",
    censored_at: Annotated[
        float | None,
        typer.Option(
            help="Delays this long or longer are only known to be late; found from a pile of equal values at "
            "the largest if not given, 0: none.",
            min=0.0,
        ),
    ] = None,
    independent: Annotated[bool, typer.Option(help="The samples are known to be independent.")] = False,
    false_alarms: Annotated[
        float, typer.Option(help="Rate of false alarms of the drift test.", min=1e-4, max=0.4)
    ] = 0.01,
    plot: Annotated[Path | None, typer.Option(help="Write diagnostic plots to this PNG.")] = None,
    recalibrate: Annotated[
        Path | None,
        typer.Option(help="Registry of contracts; with --plan, INSTANCE and --contract: raise a contract."),
    ] = None,
    contract: Annotated[
        str | None, typer.Option(help='Which contract to recalibrate, as "domain/offer".', metavar="SUBJECT")
    ] = None,
    successor: Annotated[
        Path | None,
        typer.Option(help="Where the recalibrated contract goes, unsigned (JSON); default: contract.json."),
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option(help="Envelope fitted to the domain's own log (fedopt fit impairment), to begin from."),
    ] = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Audit telemetry: extreme quantiles with intervals that respect serial dependence, diagnostics, the
    verdict on a promise (kept, broken, not decidable yet), transient or systematic drift.

    Exit codes: 0 done, 2 bad input, 5 a promise is broken.

    Example: fedopt audit telemetry.csv --deadline 100 --epsilon 0.001
    """
    from fedopt.audit import Columns, Promise, Settings, audit_telemetry, read_telemetry
    from fedopt.audit.auditing import promises_of
    from fedopt.audit.presenting import summary
    from fedopt.cli._documents import found
    from fedopt.records.units import SECONDS

    instance = instance or instance_option
    instance = None if instance is None else found(instance)
    check_out(out, [file for file in (telemetry, plan, instance) if file is not None])
    if (deadline is None) != (epsilon is None):
        fail(2, "--deadline and --epsilon belong together")
    try:
        settings = Settings(
            probabilities=tuple(quantile or (0.99, 0.999, 0.9999)),
            confidence=confidence,
            threshold=threshold,
            grid=grid,
            rounding=rounding,
            independent=independent,
            false_alarms=false_alarms,
            censored_at=censored_at,
        )
    except ValueError as error:
        fail(2, str(error))
    if unit is not None and unit not in SECONDS:
        fail(2, f"--unit {unit}: there are {', '.join(SECONDS)}")
    promises: Mapping[str, Promise] | Promise | None = None
    if deadline is not None and epsilon is not None:
        promises = Promise(deadline=deadline, epsilon=epsilon)
    elif instance is not None or plan is not None:
        promises, units = promises_of(instance, plan)
        unit = unit or units

    def progress(rows: int) -> None:
        if not quiet and rows % (1 << 20) < 1 << 17:
            say(f"{rows:,} rows read")

    columns = Columns(value, time, tuple(by) if by else None, unit, ignore_failed)
    result = audit_telemetry(read_telemetry(telemetry, columns), promises, settings, progress)
    if plot is not None:
        from fedopt.audit.presenting import plot_audit

        try:
            plot_audit(result, plot)
        except ImportError as error:
            fail(2, str(error))
    text = summary(result)
    if recalibrate is not None:
        from fedopt.audit.recalibration import replay

        replayed = (
            {} if not isinstance(promises, Mapping) else replay(read_telemetry(telemetry, columns), promises)
        )
        text += "\n" + _recalibrated(
            result, recalibrate, plan, instance, contract, successor, measured, replayed
        )
    emit(result, text, json=json, out=out, quiet=quiet)
    raise typer.Exit(BROKEN if result.broken else DONE)


def _recalibrated(
    result: Audit,
    registry: Path,
    plan: Path | None,
    instance: Path | None,
    subject: str | None,
    successor: Path | None,
    measured: Path | None,
    replayed: Mapping[str, float],
) -> str:
    """Write the next version of a contract, unsigned, and say what it does to the plan."""
    from fedopt.audit.recalibration import recalibrate
    from fedopt.contracts import Registry
    from fedopt.contracts.document import now, read_impairment
    from fedopt.instance import load
    from fedopt.plan import Plan
    from fedopt.storage import write_atomically

    if plan is None or instance is None or subject is None:
        fail(2, "--recalibrate needs INSTANCE, --plan and --contract")
    store = Registry(registry)
    current = store.current(subject)
    latest = store.state().latest(subject)
    found = recalibrate(
        result,
        load(instance),
        Plan.load(plan),
        current,
        parent=latest.sha256 if latest else "",
        issued=now(),
        measured=None if measured is None else read_impairment(measured),
        replayed=replayed,
    )
    if found.contract is None:
        return f"  {subject}: the contract bounds the audit; nothing changes"
    file = successor or Path("contract.json")
    write_atomically(file, found.contract.to_json() + "\n")
    start = "the envelope fitted to its own log" if measured is not None else "its impairment"
    lines = [
        f"  {subject}: {start} scaled by {found.factor:.4g}; version {found.contract.version}, "
        f"unsigned, in {file}"
    ]
    if not replayed:
        lines.append(
            "  !! requests have no times, so they could not be replayed: work that has become dependent over "
            "time is taken for more of the same; audit the new plan again"
        )
    if found.overloaded:
        lines.append(
            "  !! the reservation was overloaded: the factor is a lower bound; plan again and audit again"
        )
    lines += [
        f"    {effect.tenant}: log-bound {effect.before:.3f} → {effect.after:.3f}, "
        + ("still proven" if effect.holds else "no longer proven: plan again")
        for effect in found.effects
    ]
    return "\n".join(lines)
