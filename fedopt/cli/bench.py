"""The benchmarks, on your own machine: one suite (bounds, simulate, central, against, …) or all of them.

Flags become the `Settings` of `fedopt.bench.run`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fedopt.cli import BAD_INPUT, DONE
from fedopt.cli._options import Json, Out, Quiet, Seed, TimeLimit
from fedopt.cli._output import check_out, emit, fail, say, stdout_kept_clean

if TYPE_CHECKING:
    from rich.table import Table

    from fedopt.bench import Row


def command(
    suite: Annotated[
        str | None,
        typer.Argument(help="A suite, by its name below; default all.", metavar="SUITE"),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            "--sizes",
            help="Sizes of the central suite, with commas: "
            "TENANTSxSTAGESxDOMAINS[xOFFERS][:KINDS][@BINDING].",
            metavar="SIZES",
        ),
    ] = None,
    gap: Annotated[
        float | None, typer.Option("--gap", help="Gap to certify in the central suite.", min=0.0)
    ] = None,
    time_limit: TimeLimit = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, a few seconds.")] = False,
    seed: Seed = 0,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The benchmarks, on your own machine: bounds, simulate, central, against, growth, operate, serve,
    federation, admm, audit, learn, or all.

    bounds: time per fully optimised minplus bound of three domains, 2,000 at once. simulate: packets a second
    of the three-domain tandem, with Ciw beside it where it is installed. central: time, peak memory and
    certified gap of solves of generated instances. against: the same beside one integer program over all
    paths (HiGHS) and the joint model (SCIP, where it is installed), at the same gap, up to the size at which
    they stop working. growth: time over tenants, stages and domains. operate: one arrival beside a thousand
    tenants. day: the scenario city-day, 288 periods, under fedopt and each baseline (minutes each; --seed).
    serve: small requests a second of the HTTP service, and a plan over HTTP beside one in process.
    federation: 500 tenants and 24 domains negotiated in process and over HTTPS with agents as processes,
    beside the central plan. admm: rounds of the federated methods to a certified relaxation gap on thirty
    instances, and with each switch turned. audit: coverage of 95 % intervals of P(late) over 200 series of
    each of nine kinds. learn: times of decomposing and observing, and what is lost against knowing in six
    worlds. Every case runs in a process of its own.

    Example: fedopt bench central --sizes 100x3x8,1000x4x12 --gap 5e-3
    """
    from fedopt.bench import SUITES, Settings, run
    from fedopt.bench.central import CASES, parse_case

    check_out(out)
    try:
        texts = (
            sizes.split(",") if sizes is not None else [str(case) for case in CASES[: 1 if quick else None]]
        )
        cases = tuple(parse_case(text, gap) for text in texts)
    except ValueError as error:
        fail(BAD_INPUT, f"--sizes: {error}")
    settings = Settings(cases, time_limit, seed, quick)
    found: list[tuple[str, Row]] = []
    with stdout_kept_clean():
        for name in [suite] if suite is not None else list(SUITES):
            for row in run(name, settings):
                found.append((name, row))
                if not quiet:
                    say(f"{name}: {row.case}: {row.seconds:.4g} s")
    emit(
        [{"suite": name, **row.to_dict()} for name, row in found],
        _table(found),
        json=json,
        out=out,
        quiet=quiet,
    )
    raise typer.Exit(DONE)


def _table(found: list[tuple[str, Row]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("suite", "case"):
        table.add_column(heading)
    for heading in ("seconds", "peak MB", "gap", "times faster than"):
        table.add_column(heading, justify="right")
    table.add_column("more")
    for name, row in found:
        ratio = "–" if row.ratio is None else f"{row.ratio:,.1f} {row.ratio_to}"
        more = ", ".join(f"{key.replace('_', ' ')} {_number(value)}" for key, value in row.more.items())
        table.add_row(
            name,
            row.case,
            f"{row.seconds:.4g}",
            "–" if row.peak_mb is None else f"{row.peak_mb:.0f}",
            "–" if row.gap is None else f"{100 * row.gap:.3g} %",
            ratio,
            more,
        )
    return table


def _number(value: object) -> str:
    return (
        f"{value:,.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )
