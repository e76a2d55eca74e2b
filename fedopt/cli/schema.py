"""The JSON Schema of a kind of document: what a file may hold, for editors and other programs."""

from __future__ import annotations

from typing import Annotated

import typer

from fedopt.cli._options import Json, Out, Quiet
from fedopt.cli._output import emit, json_text


def command(
    kind: Annotated[
        str, typer.Argument(help="instance, plan, contract, audit, scenario or intent.", metavar="KIND")
    ] = "instance",
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The JSON Schema of a kind of document: what a file may hold, for editors and other programs.

    Example: fedopt schema instance --out instance.schema.json
    """
    from fedopt.instance.schema import schema

    document = schema(kind)
    emit(document, json_text(document) if out is None else f"wrote {out}", json=json, out=out, quiet=quiet)
