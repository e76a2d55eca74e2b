"""Fit an envelope to a request trace or a service log, with a confidence level and a held-out check.

What is printed (or written with --out) is a model as an instance takes it; with --into the whole instance.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedopt.cli import BAD_INPUT, BROKEN, DONE
from fedopt.cli._documents import hand_over, read_instance
from fedopt.cli._options import Json, Out, Quiet, Seed, Time, Work, work_weights
from fedopt.cli._output import check_out, emit, fail, say

if TYPE_CHECKING:
    from fedopt.instance import Instance
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
Into = Annotated[
    Path | None,
    typer.Option(
        "--into",
        help="Place what was fitted in this instance, which is written to --out or printed; slots and units "
        "of time are the instance's.",
        metavar="INSTANCE",
    ),
]
Bound = Annotated[
    float | None,
    typer.Option("--bound", help="Work that a slot never exceeds (declared): supports every tilt.", min=0.0),
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
    bound: Bound = None,
    of_day: OfDay = None,
    into: Into = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="With --into: whose arrivals these are.", metavar="ID")
    ] = None,
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
    check_out(out, [file, into] if into else [file])
    instance, slot, unit = _target(into, tenant, "--tenant", slot, unit)
    record = _record(file, slot, unit, time, work, of_day)
    found = _fitted(file, record, theta, confidence, windows, independent, hold_out, seed, bound)
    law = found.arrivals(slot)
    if instance is not None:
        _place(found, instance, f"tenants.{tenant}.arrivals", law, file, json, out, quiet)
    _finish(found, law, slot, json, out, quiet)


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
    bound: Bound = None,
    of_day: OfDay = None,
    into: Into = None,
    offer: Annotated[
        str | None,
        typer.Option("--offer", help="With --into: whose impairment it is.", metavar="DOMAIN/OFFER"),
    ] = None,
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

    check_out(out, [file, into] if into else [file])
    instance, slot, unit = _target(into, offer, "--offer", slot, unit)
    record = _record(file, slot, unit, time, work, of_day)
    if rate is not None:
        record = of_rates(record, rate, slot)
    found = _fitted(file, record, theta, confidence, windows, independent, hold_out, seed, bound)
    law = found.impairment(slot)
    if instance is not None:
        domain, _, name = str(offer).partition("/")
        _place(found, instance, f"domains.{domain}.offers.{name}.impairment", law, file, json, out, quiet)
    _finish(found, law, slot, json, out, quiet)


@app.command()
def pool(
    file: File,
    replicas: Annotated[int, typer.Option("--replicas", help="Replicas (GPUs) there are.", min=0)] = 1,
    price: Annotated[
        str, typer.Option("--price", help="Of one replica, such as '2 EUR/h', or a number.")
    ] = "1",
    concurrency: Annotated[
        str | None, typer.Option("--concurrency", help="Column of the requests at a time.", metavar="COLUMN")
    ] = None,
    speed: Annotated[
        str | None,
        typer.Option("--speed", help="Column of one request's tokens per second.", metavar="COLUMN"),
    ] = None,
    accuracy: Annotated[
        float | None, typer.Option("--accuracy", help="Of the AI model, for the SLOs.", min=0.0, max=1.0)
    ] = None,
    into: Into = None,
    domain: Annotated[
        str | None, typer.Option("--domain", help="With --into: whose offers they are.", metavar="ID")
    ] = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Offers of a domain from an inference engine's profile: concurrency and tokens per second of a request.

    Every row becomes a pool whose servers have the speed of one request, at the share of a replica that they
    take. Columns are found by the names of vLLM, SGLang, GuideLLM and AIConfigurator.

    Example: fedopt fit pool profile.csv --replicas 8 --price '2 EUR/h' --into llm.yaml --domain edge
    """
    from fedopt.instance.profiles import pool_offers, read_profile

    check_out(out, [file, into] if into else [file])
    instance, _, _ = _target(into, domain, "--domain", 1.0, "ms")
    bare = price.replace(".", "", 1).isdigit()
    if bare and instance is not None and instance.units.cost is not None:
        price = f"{price} {instance.units.cost}"
    rows = read_profile(file, concurrency, speed)
    replica, offers = pool_offers(rows, price, accuracy)
    capacity = f"{replicas} * {replica}"
    if instance is None:
        lines = [
            f"capacity: {capacity}",
            *(f"{o['id']}: {o['speed']}, factor {o['work_factor']:g}" for o in offers),
        ]
        emit({"capacity": capacity, "offers": offers}, "\n".join(lines), json=json, out=out, quiet=quiet)
        return
    places = {f"domains.{domain}.capacity": capacity, f"domains.{domain}.offers": offers}
    hand_over(
        instance.with_(places), out=out, json=json, quiet=quiet, header=f"Pools of {domain}: {file.name}"
    )


def _target(
    into: Path | None, name: str | None, option: str, slot: float, unit: str
) -> tuple[Instance | None, float, str]:
    """The instance that takes what is fitted, with its slot and unit of time; else what was given."""
    if into is None:
        if name is not None:
            fail(BAD_INPUT, f"{option} belongs to --into")
        return None, slot, unit
    if name is None:
        fail(BAD_INPUT, f"--into needs {option}")
    instance = read_instance(into)
    return instance, instance.slot, unit if instance.units.time == "slot" else instance.units.time


def _place(
    found: Fit,
    instance: Instance,
    place: str,
    law: dict[str, Any],
    file: Path,
    json: bool,
    out: Path | None,
    quiet: bool,
) -> None:
    """Hand the instance over with the law in its place, and end as a fit does."""
    from fedopt.instance.changing import with_law

    for warning in found.warnings:
        say(f"Warning: {warning}")
    changed = with_law(instance, place, law)
    hand_over(changed, out=out, json=json, quiet=quiet, header=f"{place}: fitted to {file.name}")
    raise typer.Exit(DONE if found.held_out is None or found.held_out.holds else BROKEN)


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
    bound: float | None,
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
            bound=bound,
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
