"""What commands print: results on stdout, everything else on stderr, files written whole.

Tables on narrow terminals are wrapped between words where that suffices, else each line becomes a block of
lines; numbers and names are never cut.
"""

from __future__ import annotations

import contextlib
import json as json_module
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from shutil import get_terminal_size
from typing import Any, NoReturn, TextIO

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fedopt.errors import FedoptError
from fedopt.storage import write_atomically


def fitted(content: RenderableType, console: Console) -> RenderableType:
    """The content with every table in it made to fit the console's width."""
    if isinstance(content, Group):
        return Group(*(fitted(part, console) for part in content.renderables))
    if not isinstance(content, Table):
        return content
    wide = console.options.update(width=10_000)
    if Measurement.get(console, wide, content).maximum <= console.width:
        return content
    words = [
        max(_longest_word(cell) for cell in [column.header, *column.cells]) for column in content.columns
    ]
    spaces = content._extra_width + sum(content.padding[1] + content.padding[3] for _ in content.columns)
    if sum(words) + spaces <= console.width:
        for column, word in zip(content.columns, words, strict=True):
            column.no_wrap, column.overflow, column.min_width = False, "fold", word
        return content
    return _stacked(content)


def _longest_word(cell: RenderableType) -> int:
    return max((len(word) for word in _plain(cell).split()), default=0)


def _plain(cell: RenderableType) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def _stacked(table: Table) -> Group:
    """Each row as lines `column: value` under the value of its first column."""
    first, *rest = table.columns
    lines = [Text("")]
    for number, name in enumerate(first.cells):
        lines.append(Text(_plain(name), style="bold"))
        for column in rest:
            value = _plain(list(column.cells)[number])
            if value:
                lines.append(Text(f"  {' '.join(_plain(column.header).split())}: {value}", overflow="fold"))
    return Group(*lines, Text(""))


PLAIN_WIDTH = 120
"""Columns of a table where stdout is no terminal and says nothing about its width."""


def emit(
    document: Any,
    text: RenderableType,
    *,
    json: bool = False,
    out: Path | None = None,
    quiet: bool = False,
) -> None:
    """Hand a result to the user.

    `document` is what `--json` prints and `--out` writes: JSON text, an object with `to_json()`, or plain
    data. `text` is the summary for people; it may use rich; empty, nothing is printed. With `json`, stdout
    carries the document and nothing else.
    """
    if json or out is not None:
        content = json_text(document) + "\n"
        if out is not None:
            write_atomically(out, content)
        if json:
            sys.stdout.write(content)
            sys.stdout.flush()
    if not json and not quiet and text != "":
        plain = "NO_COLOR" in os.environ  # no bold face either: a terminal gets what a file would
        console = Console(
            highlight=False,
            soft_wrap=isinstance(text, str),
            width=screen_width(),
            color_system=None if plain else "auto",
        )
        console.print(text, markup=False) if isinstance(text, str) else console.print(fitted(text, console))


def screen_width() -> int:
    """Columns of the terminal or of COLUMNS; a file or a pipe has PLAIN_WIDTH."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return PLAIN_WIDTH
    return get_terminal_size().columns


def check_out(out: Path | None, inputs: Iterable[Path] = ()) -> None:
    """Before any work: end with exit code 2 where `out` cannot be written, or cannot be meant: a folder, or
    one of the inputs.
    """
    if out is None:
        return
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir():
        fail(2, f"{out}: {above} is no folder")
    if not os.access(out if out.is_file() else above, os.W_OK):
        fail(2, f"{out}: cannot be written: no permission")
    if out.is_dir():
        fail(2, f"{out}: is a folder; --out names a file")
    if out.exists() and any(file.exists() and out.samefile(file) for file in inputs):
        fail(2, f"{out}: is the input; --out names another file")


def json_text(document: Any) -> str:
    """The JSON text of a result; numbers that JSON lacks (NaN, infinity) become null."""
    if isinstance(document, str):
        return document
    if hasattr(document, "to_json"):
        return str(document.to_json())
    if hasattr(document, "model_dump"):
        document = document.model_dump(mode="json")
    return json_module.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False)


class CommandError(FedoptError):
    """What ends a command: the message for people and the exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def fail(exit_code: int, message: str) -> NoReturn:
    """End the command with one message and this exit code."""
    raise CommandError(message, exit_code)


def say(message: str) -> None:
    """One message for people, on stderr."""
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """While inside, whatever writes to stdout (compiled solvers included) lands on stderr."""
    sys.stdout.flush()
    # Where sys.stdout is the process's own, moving the descriptor is enough. One stream under both names is a
    # trap for solvers that capture output themselves: they would wait for what they hold back.
    own = _descriptor(sys.stdout) == 1
    with contextlib.nullcontext() if own else contextlib.redirect_stdout(sys.stderr):
        try:
            saved = os.dup(1)
        except OSError:  # no stdout at all
            yield
            return
        try:
            os.dup2(2, 1)
            yield
        finally:
            sys.stdout.flush()
            os.dup2(saved, 1)
            os.close(saved)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
