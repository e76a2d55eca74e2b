"""Compute the papers' figures and tables again: CSV, tables, PNG and JSON, published values beside ours.

Each paper is a module of fedopt.papers with a function `figures`: name to (trials, seed, quick) to curves.
"""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from fedopt.cli import BAD_INPUT
from fedopt.cli._options import Json, Quiet, Seed
from fedopt.cli._output import emit, fail, say
from fedopt.cli._progress import TrialProgress

PAPERS = ("tre", "rade", "guarantees")


def command(
    paper: Annotated[
        str, typer.Argument(help="tre, rade, or guarantees (what a guarantee costs).", metavar="PAPER")
    ],
    figure: Annotated[
        str | None, typer.Argument(help="One figure by name; all of them when left out.", metavar="FIGURE")
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", "--seeds", help="Independent trials (default: the paper's number).", min=2),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few trials: the shape only, in seconds.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for a CSV, a table and a PNG per figure; guarantees go on there.",
            metavar="DIR",
        ),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compute the papers' figures and tables again: CSV, tables, PNG and JSON, published values beside ours.

    Example: fedopt reproduce tre fig2 --quick --out figures/
    """
    if paper not in PAPERS:
        fail(BAD_INPUT, f"there is no paper {paper!r}; there are {', '.join(PAPERS)}")
    from fedopt.papers.output import as_document, as_text, write_csv, write_markdown, write_png

    progress = TrialProgress("cases", quiet)
    kept: dict[str, Any] = {}
    if paper == "guarantees":  # each case takes seconds and is kept: a study that was stopped goes on
        kept = {"progress": progress, "record": None if out is None else out / "guarantees-cases.json"}
    try:
        figures = import_module(f"fedopt.papers.{paper}").figures(**kept)
    except ValueError as error:
        fail(BAD_INPUT, str(error))
    if figure is not None and figure not in figures:
        fail(BAD_INPUT, f"{paper} has no figure {figure!r}; it has {', '.join(figures)}")
    options = {} if trials is None else {"trials": trials}
    document, texts = {}, []
    for name in figures if figure is None else [figure]:
        start = time.monotonic()
        with progress:
            series = figures[name](seed=seed, quick=quick, **options)
        if not quiet:
            say(f"{paper} {name}: {time.monotonic() - start:.1f} s")
        if out is not None:
            write_csv(out / f"{paper}-{name}.csv", series)
            write_markdown(out / f"{paper}-{name}.md", series)
            write_png(out / f"{paper}-{name}.png", series, f"{paper.upper()} {name}")
        document[name] = as_document(series)
        texts.append(as_text(f"{paper} {name}", series))
    emit(document, "\n\n".join(texts), json=json, quiet=quiet)
