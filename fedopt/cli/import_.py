"""An instance from a real network: a topohub key, or an SNDlib, GraphML or GML file.

Flags become the arguments of `fedopt.instance.importing.import_network`; with --traffic an envelope is fitted
first.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedopt.cli import BAD_INPUT, BROKEN, DONE
from fedopt.cli._options import Json, Out, Quiet, Seed, Time, Work, work_weights
from fedopt.cli._output import check_out, fail, say

if TYPE_CHECKING:
    from fedopt.laws.fitting import Fit

SLOT_MS = 1.0
"""Length of a slot of imported instances, in ms."""

MANY_SLOTS = 200_000
"""From here on a fit takes more than a moment, which is said."""

HOLD_OUT = 0.3
"""Share of a trace, at its end, that the fitted envelope is checked against."""


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="topohub:GROUP/NAME (such as topohub:sndlib/germany50), or an SNDlib (XML, native), "
            "GraphML or GML file.",
            metavar="SOURCE",
        ),
    ],
    areas: Annotated[
        int, typer.Option("--areas", help="Access domains, each the hub of an area.", min=1)
    ] = 9,
    transits: Annotated[int, typer.Option("--transits", help="Transport domains.", min=1)] = 8,
    sites: Annotated[int, typer.Option("--sites", help="Compute sites.", min=1)] = 4,
    paths: Annotated[int, typer.Option("--paths", help="Ways kept from an area to a site.", min=1)] = 4,
    slack: Annotated[
        float, typer.Option("--slack", help="Capacity by what is needed in all; near 1 is tight.", min=1.0)
    ] = 1.6,
    name: Annotated[str | None, typer.Option("--name", help="Name of the instance.")] = None,
    traffic: Annotated[
        Path | None,
        typer.Option(
            "--traffic",
            help="A request trace (CSV): every tenant sends traffic within the envelope fitted to it.",
            metavar="TRACE.csv",
        ),
    ] = None,
    time: Time = None,
    work: Work = None,
    unit: Annotated[
        str, typer.Option("--unit", help="Unit of the trace's times where they are numbers.")
    ] = "ms",
    windows: Annotated[
        int, typer.Option("--windows", help="Longest window of the trace measured, in ms.", min=1)
    ] = 200,
    deadline: Annotated[
        str | None,
        typer.Option("--deadline", help="Deadline of every tenant: ms, or a time such as '1.5 s'."),
    ] = None,
    epsilon: Annotated[
        str | None,
        typer.Option("--epsilon", help="Probability of missing it, such as 0.001 or '0.1 %'.", metavar="P"),
    ] = None,
    tenants: Annotated[
        int | None,
        typer.Option("--tenants", help="Tenants in all; by default each demand is one.", min=1),
    ] = None,
    seed: Seed = 0,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """An instance from a real network: a topohub key, or an SNDlib, GraphML or GML file.

    Nodes are gathered into areas (access), the busiest become transits (transport), the best placed host AI
    models (compute); propagation delays follow the great circle; demands become tenants. Prices and
    impairments, which no topology states, are drawn from the seed. The same arguments give the same
    instance.

    With --traffic the demands are only counted, and every tenant sends what the trace's envelope admits; the
    last 30 % of the trace check it.

    Exit codes: 0 an instance, 2 bad input, 5 an instance, but the end of the trace exceeds the envelope.

    Example: fedopt import topohub:sndlib/germany50 --out germany50.yaml
    """
    from fedopt.cli._documents import hand_over
    from fedopt.instance import EnvelopeArrivals
    from fedopt.instance.importing import import_network

    check_out(out, [] if traffic is None else [traffic])
    options = {"areas": areas, "transits": transits, "sites": sites, "paths": paths}
    found = None if traffic is None else _fitted(traffic, time, work, unit, windows, seed, quiet)
    arrivals = None if found is None else EnvelopeArrivals.model_validate(found.arrivals(SLOT_MS))
    promise: dict[str, Any] = {
        "deadline": None if deadline is None else _number("--deadline", deadline, "time"),
        "epsilon": None if epsilon is None else _number("--epsilon", epsilon, "share"),
    }
    notes: list[str] = []
    instance = import_network(
        source,
        **options,
        slack=slack,
        seed=seed,
        name=name,
        arrivals=arrivals,
        **promise,
        tenants=tenants,
        notes=notes,
    )
    words: dict[str, object] = {**options, "slack": slack, "seed": seed}
    words |= {key: f"{value:g}" for key, value in promise.items() if value is not None}
    words |= {} if tenants is None else {"tenants": tenants}
    if traffic is not None:
        words |= {"traffic": traffic, "windows": windows, "unit": unit}
        words |= {} if time is None else {"time": time}
    given = "".join(f" --{key} {value}" for key, value in words.items())
    given += "".join(f" --work {text}" for text in (work or [] if traffic is not None else []))
    header = "\n".join([f"Made by: fedopt import {source}{given}", *(f"Note: {note}" for note in notes)])
    for note in notes:
        say(f"Note: {note}")
    hand_over(instance, out=out, json=json, quiet=quiet, header=header)
    if found is not None and found.held_out is not None and not found.held_out.holds:
        held = found.held_out
        say(
            f"{traffic}: the last {HOLD_OUT:.0%} of the trace exceed the envelope fitted to the rest, by "
            f"{held.excess:.3g} nats at θ = {held.theta:.3g}; traffic rose, or the trace is too short"
        )
        raise typer.Exit(BROKEN)
    raise typer.Exit(DONE)


def _number(option: str, text: str, unit: str) -> float:
    """A number, or a quantity with a unit, in ms or as a share."""
    from fedopt.instance.quantities import Measures, UnitError

    try:
        return float(text)
    except ValueError:
        pass
    try:
        return Measures().number(text, unit)
    except UnitError as error:
        fail(BAD_INPUT, f"{option}: {error}")


def _fitted(
    traffic: Path,
    time: str | None,
    work: list[str] | None,
    unit: str,
    windows: int,
    seed: int,
    quiet: bool,
) -> Fit:
    """The envelope of a trace in slots of 1 ms, which is what imported instances have."""
    from fedopt.laws.fitting import fit
    from fedopt.laws.fitting_record import UNITS, read_record

    if unit not in UNITS:
        fail(BAD_INPUT, f"--unit {unit}: there are {', '.join(UNITS)}")
    slot = SLOT_MS * UNITS[unit] / UNITS["ms"]
    record = read_record(traffic, slot=slot, time_column=time, work=work_weights(work), time_unit=unit)
    if record.slots >= MANY_SLOTS and not quiet:
        say(f"{traffic}: fitting {record.slots:,} slots of {SLOT_MS:g} ms …")
    longest = min(windows, max(1, record.slots // 100))
    try:
        found = fit(record, windows=longest, hold_out=HOLD_OUT, seed=seed)
    except ValueError as error:
        fail(BAD_INPUT, f"{traffic}: {error}")
    for warning in found.warnings:
        say(f"Warning: {warning}")
    return found
