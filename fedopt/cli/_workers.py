"""Options of the commands that solve many instances: where, and on how many workers."""

from __future__ import annotations

from typing import Annotated

import typer

Jobs = Annotated[
    int, typer.Option("--jobs", "-j", help="Solves at a time; -1: one a core, or all that a cluster takes.")
]
Backend = Annotated[
    str,
    typer.Option("--backend", help="loky (processes of this machine), dask or ray.", metavar="NAME"),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Scheduler of a cluster, such as tcp://10.0.0.1:8786.", metavar="URL"),
]
