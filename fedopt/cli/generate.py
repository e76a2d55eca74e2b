"""A synthetic instance of any size, feasible, with a chosen share of full domains.

Flags become the arguments of `fedopt.instance.generating.generate`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from fedopt.cli._options import Json, Out, Quiet, Seed
from fedopt.cli._output import check_out


def command(
    tenants: Annotated[int, typer.Option("--tenants", help="Tenants in all.", min=1)],
    stages: Annotated[int, typer.Option("--stages", help="Stages of the network.", min=1)] = 3,
    domains: Annotated[int, typer.Option("--domains", help="Domains on every stage.", min=1)] = 8,
    offers: Annotated[int, typer.Option("--offers", help="Offers of every domain.", min=1)] = 1,
    groups: Annotated[int, typer.Option("--groups", help="Policy groups.", min=1)] = 6,
    kinds: Annotated[
        int | None,
        typer.Option("--kinds", help="Kinds of tenants, each listed once with a count.", min=1),
    ] = None,
    binding: Annotated[
        float, typer.Option("--binding", help="Share of the domains that are to be full, 0 to 0.7.")
    ] = 1 / 3,
    name: Annotated[str | None, typer.Option("--name", help="Name of the instance.")] = None,
    seed: Seed = 0,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A synthetic instance of any size, feasible, with a chosen share of full domains.

    The same arguments give the same instance. Without --out it is printed as YAML; --out writes JSON where
    the name ends in .json, else YAML.

    Example: fedopt generate --tenants 50 --stages 4 --domains 8 --seed 1 --out synthetic.yaml
    """
    from fedopt.cli._documents import hand_over
    from fedopt.instance.generating import generate

    check_out(out)
    instance = generate(
        tenants, stages, domains, seed, offers=offers, groups=groups, binding=binding, kinds=kinds, name=name
    )
    hand_over(instance, out=out, json=json, quiet=quiet)
