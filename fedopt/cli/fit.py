"""Fit an envelope to a request trace or a service log, with a confidence level and a held-out check.

What is printed (or written with --out) is a model as an instance takes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedopt.cli import BAD_INPUT, BROKEN, DONE
from fedopt.cli._options import Json, Out, Quiet, Seed, Time, Work, work_weights
from fedopt.cli._output import check_out, emit, fail, say

if TYPE_CHECKING:
    from fedopt.laws.fitting import Fit
    from fedopt.laws.fitting_record import Record

app = typer.Typer(
    help=(__doc__ or "").partition("\n")[0] + "\n\nExample: fedopt fit arrivals trace.csv --slot 1"
)

File = Annotated[Path, typer.Argument(help="CSV file with a header.", metavar="FILE")]
Slot = Annotated[float, typer.Option("--slot", help="Length of a slot, in units of time.", min=1e-12)]
Unit = Annotated[
    str, typer.Option("--unit", help="Unit of time: date-times are converted to it (ns, us, ms, s, min, h).")
]
Theta = Annotated[
    str | None,
    typer.Option("--theta", help="Tilts, 1/work, with commas; default: as far as the record goes."),
]
Confidence = Annotated[
    float, typer.Option("--confidence", help="Confidence of the simultaneous band.", min=0.5, max=0.9999)
]
HoldOut = Annotated[
    float, typer.Option("--hold-out", help="Share at the end kept for the check (0: none).", min=0.0, max=0.9)
]
Windows = Annotated[int | None, typer.Option("--windows", help="Longest window measured, in slots.", min=1)]
Independent = Annotated[
    bool, typer.Option("--independent", help="Declare the work independent from slot to slot.")
]
OfDay = Annotated[
    str | None, typer.Option("--of-day", help="Only this part of each day: HH:MM-HH:MM.", metavar="FROM-TO")
]


@app.command()
def arrivals(
    file: File,
    slot: Slot = 1.0,
    unit: Unit = "s",
    time: Time = None,
    work: Work = None,
    theta: Theta = None,
    confidence: Confidence = 0.95,
    hold_out: HoldOut = 0.3,
    windows: Windows = None,
    independent: Independent = False,
    of_day: OfDay = None,
    seed: Seed = 0,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """An arrivals envelope (ρ, σ)(θ) from a request trace.

    Exit code 5 where the part held out exceeds the envelope.

    Example: fedopt fit arrivals trace.csv --time TIMESTAMP --work ContextTokens=0.0002 --work
    GeneratedTokens=0.02
    """
    check_out(out, [file])
    record = _record(file, slot, unit, time, work, of_day)
    found = _fitted(file, record, theta, confidence, windows, independent, hold_out, seed)
    _finish(found, found.arrivals(slot), slot, json, out, quiet)


@app.command()
def impairment(
    file: File,
    slot: Slot = 1.0,
    unit: Unit = "s",
    time: Time = None,
    work: Work = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            help="The record states the rate that was available (in the columns of --work); the impairment "
            "is what was missing from this rate.",
            min=0.0,
        ),
    ] = None,
    theta: Theta = None,
    confidence: Confidence = 0.95,
    hold_out: HoldOut = 0.3,
    windows: Windows = None,
    independent: Independent = False,
    of_day: OfDay = None,
    seed: Seed = 0,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """An impairment (κ, η)(θ), with log-moments below θ = 0, from a log of work that had priority, or of
    rates.

    Exit code 5 where the part held out exceeds the envelope.

    Example: fedopt fit impairment service.csv --slot 1 --work available=1 --rate 5
    """
    from fedopt.laws.fitting_record import of_rates

    check_out(out, [file])
    record = _record(file, slot, unit, time, work, of_day)
    if rate is not None:
        record = of_rates(record, rate, slot)
    found = _fitted(file, record, theta, confidence, windows, independent, hold_out, seed)
    _finish(found, found.impairment(slot), slot, json, out, quiet)


def _record(
    file: Path, slot: float, unit: str, time: str | None, work: list[str] | None, of_day: str | None
) -> Record:
    from fedopt.laws.fitting_record import parse_hour, read_record

    window = None
    if of_day is not None:
        low, dash, high = of_day.partition("-")
        if not dash:
            fail(BAD_INPUT, f"--of-day {of_day}: write HH:MM-HH:MM")
        window = (parse_hour(low), parse_hour(high))
    return read_record(
        file, slot=slot, time_column=time, work=work_weights(work), time_unit=unit, of_day=window
    )


def _fitted(
    file: Path,
    record: Record,
    theta: str | None,
    confidence: float,
    windows: int | None,
    independent: bool,
    hold_out: float,
    seed: int,
) -> Fit:
    from fedopt.laws.fitting import fit

    try:
        tilts = None if theta is None else [float(value) for value in theta.split(",")]
        return fit(
            record,
            theta=tilts,
            confidence=confidence,
            windows=windows,
            independent=independent,
            hold_out=hold_out,
            seed=seed,
        )
    except ValueError as error:
        fail(BAD_INPUT, f"{file}: {error}")


def _finish(
    found: Fit, model: dict[str, Any], slot: float, json: bool, out: Path | None, quiet: bool
) -> None:
    for warning in found.warnings:
        say(f"Warning: {warning}")
    emit(model, _text(found, slot), json=json, out=out, quiet=quiet)
    raise typer.Exit(DONE if found.held_out is None or found.held_out.holds else BROKEN)


def _text(found: Fit, slot: float) -> str:
    lines = [
        f"mean {found.mean / slot:.6g} work per unit of time; {found.confidence:.0%} simultaneous over "
        f"{found.theta.size} tilts and windows up to {found.windows} slots ({found.blocks} blocks)",
        f"{'θ':>12}  {'rate':>12}  {'burst':>12}",
    ]
    lines.extend(
        f"{t:12.5g}  {r / slot:12.6g}  {s:12.6g}"
        for t, r, s in zip(found.theta, found.rho, found.sigma, strict=True)
    )
    check = found.held_out
    if check is not None:
        told = "holds" if check.holds else "DOES NOT HOLD"
        side = "above" if check.excess > 0 else "below"
        lines.append(
            f"On the part held out the envelope {told}: at worst {abs(check.excess):.3g} nats {side} it "
            f"(standard error {check.error:.2g}), at θ = {check.theta:.3g} and windows of {check.window} "
            "slots."
        )
    return "\n".join(lines)
