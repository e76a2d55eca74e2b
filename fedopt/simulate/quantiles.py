"""Quantiles of a stream in bounded memory: the largest k exactly, and a sketch of everything.

*Top k.* When the number of samples n is known, the type-7 quantile at p needs only the n − ⌊p(n−1)⌋ largest
samples; a min-heap of that size gives it exactly.

*Sketch.* A histogram over the leading bits of the floating-point number: exponent and ten bits of mantissa,
so every cell is at most 2⁻¹⁰ of its value wide and a quantile read from it is within 0.1 % of a sample
quantile (relative), whatever the law. It holds ``CELLS`` 64-bit counts (0.5 MB) from 2⁻²⁴ to 2³⁶; cells add,
so threads and runs merge exactly and in any order.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.kernels import kernel

BITS = 10
LOWEST, HIGHEST = -24, 36
CELLS = ((HIGHEST - LOWEST) << BITS) + 2
_BASE = (1023 + LOWEST) << BITS


def top_size(count: int, probability: float) -> int:
    """How many of the largest of ``count`` samples the type-7 quantile at ``probability`` needs."""
    if not 0 <= probability <= 1 or count < 1:
        raise ValueError(
            f"need a probability in [0, 1] and at least one sample, got {probability} and {count}"
        )
    return count - math.floor(probability * (count - 1) + 1e-9)


def from_top(largest: np.ndarray, count: int, probability: float) -> np.ndarray:
    """Type-7 quantile of ``count`` samples from their largest, sorted ascending along the last axis."""
    position = probability * (count - 1)
    low = math.floor(position + 1e-9)
    fraction = max(0.0, position - low)
    kept = largest.shape[-1]
    first = kept - (count - low)
    if first < 0:
        raise ValueError(f"{kept} largest samples are too few for the quantile at {probability} of {count}")
    upper = min(first + 1, kept - 1)
    return np.asarray(largest[..., first] * (1 - fraction) + largest[..., upper] * fraction)


@kernel
def push(heap, value):
    """Replace the least of a min-heap by ``value`` (which must be larger) and restore the order."""
    n = heap.shape[0]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[i] = heap[child]
        i = child
    heap[i] = value


@kernel(inline="always")
def cell(value):
    """Cell of the sketch that a value falls into."""
    bits = (np.float64(value).view(np.int64) >> np.int64(52 - BITS)) - np.int64(_BASE) + 1
    return min(max(bits, np.int64(0)), np.int64(CELLS - 1))


def edges() -> np.ndarray:
    """Lower edges of the cells and the upper edge of the last; shape ``(CELLS + 1,)``. The first cell starts
    at 0.
    """
    steps = np.arange(CELLS - 1, dtype=np.int64) + _BASE
    inner = (steps << np.int64(52 - BITS)).view(np.float64)
    return np.concatenate([[0.0], inner, [math.inf]])


class Sketch:
    """Counts of the cells, with quantiles and tail probabilities read from them."""

    def __init__(self, counts: np.ndarray | None = None) -> None:
        self.counts = np.zeros(CELLS, dtype=np.int64) if counts is None else counts

    @property
    def total(self) -> int:
        """Number of samples seen."""
        return int(self.counts.sum())

    def add(self, values: np.ndarray) -> Sketch:
        """This sketch with more samples."""
        bits = (np.ascontiguousarray(values, dtype=float).view(np.int64) >> (52 - BITS)) - _BASE + 1
        counts = np.bincount(np.clip(bits, 0, CELLS - 1), minlength=CELLS)
        return Sketch(self.counts + counts)

    def merged(self, other: Sketch) -> Sketch:
        """Both sketches' samples in one."""
        return Sketch(self.counts + other.counts)

    def quantile(self, probability: float) -> float:
        """The quantile at ``probability``, within one cell (0.1 %) of the sample quantile."""
        total = self.total
        if total == 0:
            return math.nan
        cumulative = np.cumsum(self.counts)
        rank = probability * (total - 1) + 0.5
        place = int(np.searchsorted(cumulative, rank, side="left"))
        bounds = edges()
        low, high = float(bounds[place]), float(bounds[place + 1])
        if math.isinf(high):
            return low
        before = float(cumulative[place - 1]) if place else 0.0
        return low + (high - low) * (rank - before) / float(self.counts[place])

    def tail(self, threshold: float) -> float:
        """Share of samples above ``threshold`` (linear inside the cell)."""
        bounds = edges()
        place = int(np.searchsorted(bounds, threshold, side="right")) - 1
        above = float(self.counts[place + 1 :].sum())
        low, high = float(bounds[place]), float(bounds[place + 1])
        inside = 0.0 if math.isinf(high) else (high - threshold) / (high - low)
        return (above + inside * float(self.counts[place])) / max(1, self.total)
