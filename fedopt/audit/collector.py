"""Collecting a series of any length in bounded memory: its largest values with their places in time."""

from __future__ import annotations

import math

import numpy as np

from fedopt.audit.rounding import Grid, Rounding, find_grid
from fedopt.audit.tails import Sample

__all__ = ["Collector"]

KEEP = 1 << 21


class Collector:
    """Takes a series chunk by chunk and keeps its `keep` largest values with their positions.

    Memory: at most 2·keep values and positions (64 MB at the default of 2,097,152), whatever the length of
    the series. A series of up to 2·keep values is kept whole. From 100 million samples the largest 2 %
    remain, from a billion the largest 0.2 %, which still holds p99.9. Values that are not finite are counted
    in `invalid` and left out.
    """

    def __init__(self, keep: int = KEEP) -> None:
        if keep < 1000:
            raise ValueError("at least 1,000 values must be kept")
        self.keep = keep
        self.samples = 0
        self.invalid = 0
        self.floor = -math.inf
        self.mean = 0.0
        self.least = math.inf
        self._value: list[np.ndarray] = []
        self._position: list[np.ndarray] = []
        self._held = 0
        self._first: np.ndarray = np.empty(0)

    def add(self, values: np.ndarray) -> None:
        """The next values in time order; shape (k,)."""
        values = np.asarray(values, dtype=float).ravel()
        finite = np.isfinite(values)
        if not finite.all():
            self.invalid += int(values.size - finite.sum())
            values = values[finite]
        if values.size == 0:
            return
        if self._first.size < 20_000:
            self._first = np.concatenate([self._first, values[: 20_000 - self._first.size]])
        for start in range(0, values.size, self.keep):
            self._take(values[start : start + self.keep])

    def _take(self, values: np.ndarray) -> None:
        before = self.samples
        self.samples += values.size
        self.mean += (float(values.mean()) - self.mean) * values.size / self.samples
        self.least = min(self.least, float(values.min()))
        if self.floor == -math.inf:
            kept, position = values.copy(), np.arange(before, self.samples)
        else:
            index = np.flatnonzero(values > self.floor)
            kept, position = values[index], index + before
        self._value.append(kept)
        self._position.append(position)
        self._held += kept.size
        if self._held > 2 * self.keep:
            self._shrink()

    def _shrink(self) -> None:
        value, position = np.concatenate(self._value), np.concatenate(self._position)
        floor = float(np.partition(value, value.size - self.keep)[value.size - self.keep])
        mask = value > floor
        if not mask.any():  # a tie of more than `keep` values at the very top: nothing above it to keep
            floor = float(np.nextafter(floor, -math.inf))
            index = np.flatnonzero(value > floor)[: self.keep]
            mask = np.zeros(value.size, dtype=bool)
            mask[index] = True
        self.floor = floor
        self._value, self._position = [value[mask]], [position[mask]]
        self._held = int(mask.sum())

    def sample(
        self, *, grid: float | None = None, rounding: Rounding = "nearest", independent: bool = False
    ) -> Sample:
        """The collected upper part. grid: width of the rounding grid; None finds it, 0 says that there is
        none.
        """
        value = np.concatenate(self._value) if self._value else np.empty(0)
        position = np.concatenate(self._position) if self._position else np.empty(0, dtype=np.int64)
        if grid is None:
            found = find_grid(self._first, rounding)
            if found.width > 0 and not np.allclose(
                value / found.width, np.rint(value / found.width), atol=1e-4
            ):
                found = Grid(0.0, rounding)
        else:
            found = Grid(grid, rounding)
        return Sample(value, position, self.samples, found, self.floor, independent)
