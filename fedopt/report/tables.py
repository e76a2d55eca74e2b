"""Tables of the page: plain text in cells, numbers to sort by, and a page of rows in the document itself."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fedopt.plan.summary import format_probability

PAGE = 50
"""Rows that stand in the document; where there are more, all are in its data and paged in the browser."""

FINDABLE = 12
"""From this many rows on a table can be searched."""


@dataclass(frozen=True)
class Column:
    """A column's heading; `numeric` ones sort as numbers, `wide` ones hold sentences,
    `path` ones hops joined by arrows, which break between hops only."""

    title: str
    numeric: bool = False
    wide: bool = False
    path: bool = False

    @property
    def style(self) -> str:
        """The class of its cells."""
        return "number" if self.numeric else "wide" if self.wide else "path" if self.path else ""


@dataclass(frozen=True)
class Table:
    """A table: its caption, columns, and rows of text; the first cell of a row is its heading.

    `keys` hold what a numeric column sorts by, by its position; `bars` a number from 0 to 1 that is drawn
    behind a cell, by position; `routes` the domains, by their number in the stage graph, that a row's path
    crosses.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    keys: dict[int, Sequence[float | None]] = field(default_factory=dict)
    bars: dict[int, Sequence[float | None]] = field(default_factory=dict)
    routes: Sequence[Sequence[int]] = ()

    @property
    def first(self) -> Sequence[Sequence[str]]:
        """The rows that stand in the document."""
        return self.rows[:PAGE]

    @property
    def live(self) -> bool:
        """Whether the browser sorts, searches and pages it."""
        return len(self.rows) > 1

    @property
    def findable(self) -> bool:
        """Whether it is long enough to be searched."""
        return len(self.rows) >= FINDABLE

    def data(self) -> str:
        """Everything the browser needs, as JSON that cannot end a script element."""
        return script_json(
            {
                "page": PAGE,
                "numeric": [column.numeric for column in self.columns],
                "styles": [column.style for column in self.columns],
                "rows": self.rows,
                "keys": {str(at): values for at, values in self.keys.items()},
                "bars": {str(at): values for at, values in self.bars.items()},
                "routes": self.routes,
            }
        )


def script_json(document: Any) -> str:
    """Compact JSON with <, > and & escaped, so that no text in it can close or open an element."""
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def number(value: float | None, digits: int = 4) -> str:
    """A number in print; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 10 ** max(digits, 4):
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.{digits}g}"
    return f"{value:.{digits}g}"


def per_cent(share: float | None) -> str:
    """A share in per cent."""
    return "–" if share is None else f"{100 * share:.1f} %"


def power(level: float) -> str:
    """A probability given by its log10, in print and without underflow: −2 is 0.01, −400.3 is 5.01e-401."""
    if level > 0:
        return "1 or more"
    if level > -4.01:
        return f"{10.0**level:.3g}"
    return format_probability(level * math.log(10.0)) if level > -1e6 else f"10^{level:.3g}"
