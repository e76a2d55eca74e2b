"""Tables on narrow terminals: wrapped between words where that suffices, else a block of lines a row.

Numbers and names are never cut.
"""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

__all__ = ["fitted"]


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
