"""What is kept of a series: its largest values with their places in time, the grid that values were rounded
to, and which values are only known to be late.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedopt.audit.settings import KEEP, METHOD, Rounding

__all__ = ["Collector", "Grid", "Sample", "find_cap", "find_grid"]


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
    stride = max(1, values.size // METHOD.looked_at)
    looked = values[::stride]
    distinct = np.unique(looked)
    if distinct.size > looked.size / 2 or distinct.size < 2:
        return Grid(0.0, rounding)
    largest = float(np.max(np.abs(distinct)))
    smallest_gap = float(np.min(np.diff(distinct)))
    start = math.floor(math.log10(smallest_gap)) + 1
    for exponent in range(start, start - 6, -1):
        for digit in (5, 2, 1):
            width = digit * 10.0**exponent
            if width > smallest_gap * (1 + 1e-6) or largest / width > 1e12:
                continue
            steps = distinct / width
            if np.all(np.abs(steps - np.rint(steps)) < 1e-6 * np.maximum(1.0, np.abs(steps) * 1e-3)):
                return Grid(width, rounding)
    return Grid(0.0, rounding)


def find_cap(values: np.ndarray) -> float | None:
    """The level at which a series was cut off: its largest value, if it piles up there.

    The counts of a tail, rounded or not, fall towards the largest value. A pile holds at least five values,
    and four times as many as any of the next three distinct values below it, or significantly more.
    """
    if values.size < 2 * METHOD.smallest_pile:
        return None
    largest = float(values.max())
    pile = int(np.count_nonzero(values == largest))
    if pile < METHOD.smallest_pile or pile > values.size / 2:
        return None
    below = values[values < largest]
    counts = []
    for _ in range(3):
        if below.size:
            counts.append(int(np.count_nonzero(below == below.max())))
            below = below[below < below.max()]
    usual = max(counts)
    return largest if pile >= 4 * usual or pile > usual + 4 * math.sqrt(pile + usual) else None


@dataclass(frozen=True, eq=False)
class Sample:
    """The upper part of a series: its largest values with their places in time, and how long the series was.

    Attributes
    ----------
    value
        Every value of the series above `floor` (−inf: all of them), in time order; shape (k,). +inf stands
        for a request that is late whatever the deadline: it did not come back, or it reached the cap.
    position
        Their 0-based indices in time order, ascending; shape (k,).
    samples
        Length n of the series, late requests included.
    grid
        The rounding of the values.
    independent
        Whether the samples are known to be independent of each other.
    cap
        Values that reached this level are only known to be at least as large; None: there is no such level.
    """

    value: np.ndarray
    position: np.ndarray
    samples: int
    grid: Grid
    floor: float = -math.inf
    independent: bool = False
    cap: float | None = None

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.value)[::-1]

    @cached_property
    def descending(self) -> np.ndarray:
        """The retained values, largest first."""
        return self.value[self._order]

    @cached_property
    def places(self) -> np.ndarray:
        """Positions in time of `descending`."""
        return self.position[self._order]

    @cached_property
    def lost(self) -> int:
        """How many values are only known to be late (+inf)."""
        return int(np.count_nonzero(np.isinf(self.value)))

    @property
    def maximum(self) -> float:
        """The largest finite value."""
        return float(self.descending[self.lost]) if self.lost < self.descending.size else math.nan

    @cached_property
    def episodes(self) -> tuple[np.ndarray, np.ndarray]:
        """The episode to which each of the values above the median belongs, largest value first, and the
        counts at which the largest values first touch their 1st, 2nd, … episode.

        An episode lasts from one crossing of the median (or of `floor`, where less was kept) to the next. In
        a queue, and in every Markov process, what happens in different episodes is all but independent.
        """
        middle = self.floor if math.isfinite(self.floor) else float(np.median(self.value))
        above = self.value > middle
        position = self.position[above]
        label = np.zeros(self.value.size, dtype=np.int64)
        label[above] = np.cumsum(np.diff(position, prepend=-2) > 1) - 1
        labels = label[self._order[: position.size]]
        _, first = np.unique(labels, return_index=True)
        return labels, np.sort(first) + 1

    def upper(self, count: int) -> float:
        """A level that `count` samples exceed, or as near as ties allow: the edge of a cell where there is a
        grid.
        """
        level = float(self.descending[min(count, self.descending.size - 1)])
        return level + (self.grid.lower_offset + self.grid.width if self.grid.width > 0 else 0.0)

    def above(self, level: float) -> np.ndarray:
        """Mask of the retained values whose cells lie above a level."""
        if self.grid.width > 0:
            return self.grid.lower_edges(self.value) >= level - 1e-9 * self.grid.width
        return self.value > level

    def count_above(self, level: float) -> int:
        """How many values lie above a level. Raises ValueError below the retained part of the series."""
        if level < self.floor:
            raise ValueError(f"only values above {self.floor:g} were kept; the level {level:g} is below")
        return int(np.count_nonzero(self.above(level)))


class Collector:
    """Takes a series chunk by chunk and keeps its `keep` largest values with their positions.

    Memory: at most 2·keep values and positions (64 MB at the default of 2,097,152), whatever the length of
    the series. A series of up to 2·keep values is kept whole. From 100 million samples the largest 2 %
    remain, from a billion the largest 0.2 %, which still holds p99.9. Only more than `keep` equal values at
    the very top take more. Values that are not finite count as late (`lost`).
    """

    def __init__(self, keep: int = KEEP) -> None:
        if keep < 1000:
            raise ValueError("at least 1,000 values must be kept")
        self.keep = keep
        self.samples = 0
        self.lost = 0
        self.floor = -math.inf
        self.mean = 0.0
        self._value: list[np.ndarray] = []
        self._position: list[np.ndarray] = []
        self._held = 0
        self._limit = 2 * keep
        self._first: np.ndarray = np.empty(0)

    def add(self, values: np.ndarray) -> None:
        """The next values in time order; shape (k,)."""
        values = np.asarray(values, dtype=float).ravel()
        for start in range(0, values.size, self.keep):
            self._take(values[start : start + self.keep])

    def _take(self, values: np.ndarray) -> None:
        before = self.samples
        self.samples += values.size
        known = np.isfinite(values)
        answered = values
        if not known.all():
            values = np.where(known, values, math.inf)
            answered = values[known]
            self.lost += values.size - answered.size
        if answered.size:
            count = self.samples - self.lost
            self.mean += (float(answered.mean()) - self.mean) * answered.size / count
            if self._first.size < METHOD.looked_at:
                self._first = np.concatenate([self._first, answered[: METHOD.looked_at - self._first.size]])
        index = np.flatnonzero(values > self.floor) if math.isfinite(self.floor) else slice(None)
        self._value.append(values[index])
        self._position.append(np.arange(before, self.samples)[index])
        self._held += self._value[-1].size
        if self._held > self._limit:
            self._shrink()

    def _shrink(self) -> None:
        value, position = np.concatenate(self._value), np.concatenate(self._position)
        floor = float(np.partition(value, value.size - self.keep)[value.size - self.keep])
        mask = value > floor
        if not mask.any():  # more than `keep` equal values at the very top: all must be kept to be counted
            floor = float(np.nextafter(floor, -math.inf))
            mask = value > floor
        self.floor = floor
        self._value, self._position = [value[mask]], [position[mask]]
        self._held = int(mask.sum())
        self._limit = 2 * max(self.keep, self._held)

    def sample(
        self,
        *,
        grid: float | None = None,
        rounding: Rounding = "nearest",
        independent: bool = False,
        cap: float | None = None,
    ) -> Sample:
        """The collected upper part.

        Parameters
        ----------
        grid
            Width of the rounding grid; None finds it, 0 says that there is none.
        cap
            Values at least as large are only known to be late; None looks for a pile of equal values at the
            largest, 0 says that there is no such level.
        """
        value = np.concatenate(self._value) if self._value else np.empty(0)
        position = np.concatenate(self._position) if self._position else np.empty(0, dtype=np.int64)
        known = value[np.isfinite(value)]
        if cap is None:
            cap = find_cap(known)
        if cap:
            value = np.where(value >= cap, math.inf, value)
            known = known[known < cap]
        if grid is None:
            found = find_grid(self._first if not cap else self._first[self._first < cap], rounding)
            steps = known / (found.width or 1.0)
            if found.width > 0 and not np.allclose(steps, np.rint(steps), atol=1e-4):
                found = Grid(0.0, rounding)
        else:
            found = Grid(grid, rounding)
        return Sample(value, position, self.samples, found, self.floor, independent, cap or None)
