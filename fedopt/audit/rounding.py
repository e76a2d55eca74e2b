"""Finding the grid that values were rounded to, so that ties are treated as the cells they stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Grid", "find_grid"]

Rounding = Literal["nearest", "down", "up"]
LOOKED_AT = 20_000


@dataclass(frozen=True)
class Grid:
    """Values are multiples of `width` (unit of the data); width 0: no grid.

    rounding: which true values a recorded one stands for: the nearest multiple, the next below or the next
    above.
    """

    width: float
    rounding: Rounding = "nearest"

    @property
    def lower_offset(self) -> float:
        """Distance from a recorded value to the lower edge of its cell (zero or negative)."""
        return {"nearest": -0.5, "down": 0.0, "up": -1.0}[self.rounding] * self.width

    def lower_edges(self, values: np.ndarray) -> np.ndarray:
        """Lower edges of the cells of recorded values."""
        return np.asarray(values, dtype=float) + self.lower_offset


def find_grid(values: np.ndarray, rounding: Rounding = "nearest") -> Grid:
    """The coarsest decimal grid (1, 2 or 5 times a power of ten) that holds all values, if ties show that
    there is one.

    A grid counts only where ties are common enough to matter: fewer distinct values than half of the sample.
    """
    values = np.asarray(values, dtype=float)
    if values.size == 0:
        return Grid(0.0, rounding)
    stride = max(1, values.size // LOOKED_AT)
    looked = values[::stride]
    distinct = np.unique(looked)
    if distinct.size > looked.size / 2 or distinct.size < 2:
        return Grid(0.0, rounding)
    largest = float(np.max(np.abs(distinct)))
    smallest_gap = float(np.min(np.diff(distinct)))
    for exponent in range(
        math.floor(math.log10(smallest_gap)) + 1, math.floor(math.log10(smallest_gap)) - 5, -1
    ):
        for digit in (5, 2, 1):
            width = digit * 10.0**exponent
            if width > smallest_gap * (1 + 1e-6) or largest / width > 1e12:
                continue
            steps = distinct / width
            if np.all(np.abs(steps - np.rint(steps)) < 1e-6 * np.maximum(1.0, np.abs(steps) * 1e-3)):
                return Grid(width, rounding)
    return Grid(0.0, rounding)
