"""An instance from a real network: a topohub key, an SNDlib XML or a GraphML file.

Flags become the arguments of `fedopt.instance.importing.import_network`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from fedopt.cli._options import Json, Out, Quiet, Seed


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="topohub:GROUP/NAME (such as topohub:sndlib/germany50), or an SNDlib XML or GraphML file.",
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
    seed: Seed = 0,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """An instance from a real network: a topohub key, an SNDlib XML or a GraphML file.

    Nodes are gathered into areas (access), the busiest become transits (transport), the best placed host AI
    models (compute); propagation delays follow the great circle; demands become tenants. Prices and
    impairments, which no topology states, are drawn from the seed. The same arguments give the same
    instance.

    Example: fedopt import topohub:sndlib/germany50 --out germany50.yaml
    """
    from fedopt.cli._instances import hand_over
    from fedopt.instance.importing import import_network

    options = {"areas": areas, "transits": transits, "sites": sites, "paths": paths}
    instance = import_network(source, **options, slack=slack, seed=seed, name=name)
    given = "".join(f" --{key} {value}" for key, value in {**options, "slack": slack, "seed": seed}.items())
    header = f"Made by: fedopt import {source}{given}"
    hand_over(instance, out=out, json=json, quiet=quiet, header=header)
