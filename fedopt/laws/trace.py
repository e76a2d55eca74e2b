"""Arrivals recorded in a file: an empirical envelope."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fedopt.laws.protocol import Law, Shape, Values
from fedopt.laws.table import Table
from fedopt.records import RecordError, read_arrivals

__all__ = ["Trace", "read_trace"]

MOST_SLOTS = 20_000_000
BINS = 4_000


@dataclass(frozen=True, eq=False)
class Trace(Law):
    """Recorded work per slot and the number of requests that brought it.

    The envelope is *measured*: an estimate, not a theorem about traffic that was not recorded. For windows
    of n slots, n = 1 to 16 and then in steps of a quarter up to an eighth of the record, let L_n(θ) be the
    log-mean of e^{θA} over all windows of the record. Of the lines θρn + θσ above all of them (ρ, σ) is the
    one that is lowest at the longest n of which the record holds a thousand disjoint windows. Increments are
    not taken to be independent. For requests the same is done with windows weighted by the requests in their
    last slot.

    Attributes:
        work: work per slot, shape (slots,).
        requests: requests per slot, shape (slots,).
        largest: the largest work of one request.
        gaps, sizes: of the single requests in their order, slots and work; None where only slots are known.
            The first gap is the mean of the others: it joins the record's end to its start.
        notes: what was guessed when the record was read.
    """

    work: np.ndarray
    requests: np.ndarray
    largest: float = math.nan
    gaps: np.ndarray | None = None
    sizes: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def max_size(self) -> float:
        """The largest request of the record: an estimate, like all of it."""
        return self.largest

    @property
    def independent_increments(self) -> bool:
        """False: nothing of the kind can be read off a record."""
        return False

    @property
    def iid(self) -> bool:
        """False."""
        return False

    @property
    def theta_max(self) -> float:
        """The last point of the measured table, 1/work."""
        return self.table.theta_max

    @property
    def nodes(self) -> np.ndarray:
        """The θ at which the table was measured, 1/work."""
        return self.table.grid

    @property
    def mean(self) -> float:
        """Mean work per slot over the record."""
        return float(self.work.mean())

    @cached_property
    def table(self) -> Table:
        """The measured envelope on a geometric θ grid."""
        work = np.asarray(self.work, float)
        weight = np.asarray(self.requests, float)
        scale = 1.0 / (work.mean() + work.std())
        grid = scale * np.geomspace(1e-4, 1e3, 141)
        lengths = _lengths(max(work.size // 8, 1))
        total = np.concatenate([[0.0], np.cumsum(work)])
        plain = np.empty((lengths.size, grid.size))
        found = np.empty_like(plain)
        for i, n in enumerate(lengths):
            sums = total[n:] - total[:-n]
            plain[i] = _log_means(sums, np.ones(sums.size), grid)
            found[i] = _log_means(sums, weight[n - 1 :], grid)
        span = lengths.astype(float)
        rate = np.maximum(_slope(span, plain, work.size / 1000), 0.0)
        burst = np.maximum((plain - span[:, None] * rate).max(axis=0), 0.0)
        with_bias = np.maximum((found - span[:, None] * rate).max(axis=0), burst)
        return Table(grid, rate, burst, with_bias - burst)

    def log_rate(self, theta: Values) -> Values:
        """θρ from the measured table."""
        return self.table.log_rate(theta)

    def log_burst(self, theta: Values) -> Values:
        """θσ from the measured table."""
        return self.table.log_burst(theta)

    def request_log_bias(self, theta: Values) -> Values:
        """The measured addition for requests, from the table."""
        return self.table.request_log_bias(theta)

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """The record from a random slot on, joined end to start; shape `slots`, time on the last axis."""
        shape = (slots,) if isinstance(slots, int) else tuple(slots)
        begin = rng.integers(self.work.size, size=(*shape[:-1], 1))
        return np.asarray(self.work, float)[(begin + np.arange(shape[-1])) % self.work.size]


def read_trace(
    path: Path, time_column: str | None, work_column: str | None, slot: float, unit: str | None = None
) -> Trace:
    """Read recorded requests from any file that `fedopt.records` knows.

    Parameters
    ----------
    time_column, work_column
        None: the usual column of times; one work a request.
    slot
        Length of a slot in the instance's unit of time.
    unit
        That unit. None: plain numbers are taken to be in it, and other times are refused.

    Raises
    ------
    RecordError
        If the file cannot be read, a column is missing, a value is not a number, the work is negative or the
        record has more than 20 million slots.
    """
    work = None if work_column is None else {work_column: 1.0}
    read = read_arrivals(path, time=time_column, work=work, unit=unit)
    time, amounts = read.times, read.work
    if not amounts.sum() > 0.0:
        raise RecordError(f"{path}: work must not be all 0")
    slots = (time[-1] - time[0]) / slot
    if slots > MOST_SLOTS:
        raise RecordError(f"{path}: spans {slots:.3g} slots, more than {MOST_SLOTS}; choose a longer slot")
    index = np.floor((time - time[0]) / slot).astype(np.int64)
    gaps = np.diff(time, prepend=time[0]) / slot
    gaps[0] = gaps[1:].mean() if gaps.size > 1 else 1.0
    per_slot, count = np.bincount(index, weights=amounts), np.bincount(index).astype(float)
    notes = read.notes
    if work_column is None:
        notes = (*notes, "Every row brings one unit of work; no column of work was named.")
    return Trace(per_slot, count, float(amounts.max()), gaps, amounts, notes)


def _lengths(longest: int) -> np.ndarray:
    """Window lengths 1, 2, …, 16, then rising by a quarter, up to `longest`."""
    lengths = list(range(1, min(longest, 16) + 1))
    while lengths[-1] < longest:
        lengths.append(min(max(lengths[-1] * 5 // 4, lengths[-1] + 1), longest))
    return np.array(lengths)


def _slope(x: np.ndarray, heights: np.ndarray, at: float) -> np.ndarray:
    """Slope at `at` of the least concave function above the points (x, heights), shapes (n,), (n, G)."""
    at = float(np.clip(at, x[0], x[-1]))
    left = np.flatnonzero(x <= at)
    right = np.flatnonzero(x >= at)
    best = np.full(heights.shape[1], -np.inf)
    slope = heights[-1] / x[-1]
    for i in left:
        for j in right:
            if x[j] > x[i]:
                rise = (heights[j] - heights[i]) / (x[j] - x[i])
                level = heights[i] + rise * (at - x[i])
                slope, best = np.where(level > best, rise, slope), np.maximum(level, best)
    return slope


def _log_means(sums: np.ndarray, weights: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """log of the weighted mean of e^{θ·sum} for each θ; sums are rounded up to 1/4000 of the largest."""
    top = float(sums.max())
    if top <= 0.0 or weights.sum() <= 0.0:
        return np.zeros(grid.shape)
    index = np.minimum(np.ceil(sums * (BINS / top)), BINS).astype(np.int64)
    share = np.bincount(index, weights=weights, minlength=BINS + 1) / weights.sum()
    levels = np.arange(BINS + 1) * (top / BINS)
    exponents = np.exp(grid[:, None] * (levels - top)[None, :])
    return grid * top + np.log(exponents @ share + 1e-300)
