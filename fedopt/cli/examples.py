"""The instances that come with fedopt, a line each; --copy puts them into a folder of yours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedopt.cli._options import Json, Quiet
from fedopt.cli._output import emit


def command(
    copy: Annotated[
        Path | None, typer.Option("--copy", help="Copy the files to this folder.", metavar="DIR")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The instances that come with fedopt, a line each; --copy puts them into a folder of yours.

    Any command that takes an INSTANCE takes their names too.

    Example: fedopt examples --copy instances
    """
    from fedopt.instance.reading import examples
    from fedopt.storage import write_atomically

    rows = []
    for name, path in examples().items():
        text = path.read_text(encoding="utf-8")
        if copy is not None:
            path = write_atomically(copy / path.name, text)
        about = " ".join(line.lstrip("# ") for line in text.splitlines()[:6] if line.startswith("#"))
        rows.append({"name": name, "path": str(path), "about": about.partition(". ")[0].rstrip(".")})
    width = max((len(row["name"]) for row in rows), default=0)
    lines = [f"{row['name']:<{width}}  {row['path'] if copy else row['about']}" for row in rows]
    emit(rows, "\n".join(lines), json=json, quiet=quiet)
