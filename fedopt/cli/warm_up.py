"""Compile what planning, checking and simulating use, once per installation, on all cores."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import typer

from fedopt.cli import DEFECT, DONE
from fedopt.cli._options import Json, Quiet
from fedopt.cli._output import emit, fail, say

SEQUENCES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (
        ("solve", "{metro-llm}"),
        ("solve", "{germany50}", "--out", "{plan}"),
        ("check", "{plan}", "{germany50}"),
        ("explain", "{tight}"),
        ("solve", "{tight}", "--method", "admm"),
    ),
    (
        ("solve", "{quickstart}", "--out", "{small}"),
        ("simulate", "{small}", "{quickstart}"),
        ("solve", "{tandem}"),
        ("solve", "{metro-llm}", "--guarantee", "split"),
        ("solve", "{metro-llm}", "--guarantee", "paper-path"),
        ("solve", "{city}"),
    ),
)
"""Commands that between them use every kernel that a user meets first; one process each."""


def command(json: Json = False, quiet: Quiet = False) -> None:
    """Compile ahead of time what the first solves would otherwise compile as they need it.

    fedopt works without it: functions are interpreted until compiling them pays. Afterwards every command
    starts at full speed. The machine code is kept beside the installed files or, where they cannot be
    written, in the user's cache folder; a new version of fedopt or numba needs it again.

    Example: fedopt warm-up
    """
    import fedopt

    files = {name: str(path) for name, path in fedopt.examples().items()}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        places = {**files, "plan": str(Path(folder) / "plan.json"), "small": str(Path(folder) / "small.json")}
        running = [
            _start([[word.format_map(places) for word in line] for line in lines]) for lines in SEQUENCES
        ]
        if not quiet:
            say("compiling kernels, once per installation (one to two minutes) …")
        try:
            errors = [process.communicate()[1] for process in running]
        finally:
            for process in running:
                process.kill()
                process.wait()
    for process, error in zip(running, errors, strict=True):
        if process.returncode != 0:
            fail(DEFECT, f"warming up failed:\n{error.strip()[-2000:]}")
    seconds = time.monotonic() - started
    emit({"seconds": seconds}, f"Compiled in {seconds:.0f} s.", json=json, quiet=quiet)
    raise typer.Exit(DONE)


_RUN = """
import sys
from fedopt.cli import run
for line in {lines!r}:
    code = run(line + ["-q"])
    if code not in (0, 5):
        sys.exit(f"{{' '.join(line)}} ended with code {{code}}")
"""


def _start(lines: list[list[str]]) -> subprocess.Popen[str]:
    """A process that runs these commands with everything compiled when it is first called."""
    return subprocess.Popen(
        [sys.executable, "-c", _RUN.format(lines=lines)],
        env={**os.environ, "FEDOPT_KERNELS": "compiled"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
