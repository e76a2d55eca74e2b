"""What a sample says: tail probabilities and quantiles of dependent delays, in bounded memory.

*Intervals.* Delays within a trial depend on each other; trials do not. The variance of a ratio is taken
between trials (linearised), which turns the sample into an *effective* number of independent requests, and
the exact binomial interval of Clopper and Pearson is applied to that number (Korn and Graubard 1998, the
"survey" interval). Quantiles follow by Woodruff's inversion (1952): the interval of the tail probability,
read on the delay axis.

*Largest k.* When the number of samples n is known, the type-7 quantile at p needs only the n − ⌊p(n−1)⌋
largest samples; a min-heap of that size gives it exactly.

*Sketch.* A histogram over the leading bits of the floating-point number: exponent and ten bits of mantissa,
so every cell is at most 2⁻¹⁰ of its value wide and a quantile read from it is within 0.1 % of a sample
quantile (relative), whatever the law. It holds ``CELLS`` 64-bit counts (0.5 MB) from 2⁻²⁴ to 2³⁶; cells add,
so threads and runs merge exactly and in any order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, t

from fedopt.kernels import kernel

BITS = 10
LOWEST, HIGHEST = -24, 36
CELLS = ((HIGHEST - LOWEST) << BITS) + 2
_BASE = (1023 + LOWEST) << BITS


@dataclass(frozen=True)
class Estimate:
    """A mean over independent trials with its standard error."""

    mean: float
    error: float

    def interval(self, deviations: float = 1.96) -> tuple[float, float]:
        """Mean ± ``deviations`` standard errors."""
        return self.mean - deviations * self.error, self.mean + deviations * self.error


def estimate(values: np.ndarray) -> Estimate:
    """Mean and standard error of independent values (nan error for a single one)."""
    error = float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else float("nan")
    return Estimate(float(values.mean()), error)


@dataclass(frozen=True)
class Share:
    """A probability with its confidence interval and the effective number of independent observations behind
    it.
    """

    estimate: float
    low: float
    high: float
    effective: float


def clopper_pearson(hits: float, count: float, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided exact binomial interval; ``hits`` and ``count`` may be effective numbers, not whole."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    side = (1 - confidence) / 2
    low = float(beta.ppf(side, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - side, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def design_effect(hits: np.ndarray, totals: np.ndarray) -> float:
    """How many times larger the variance of Σhits/Σtotals is than that of independent observations; at least
    1.

    Both shaped ``(trials,)``. 1 where nothing can be said (no hits, only hits or a single trial).
    """
    share = hits.sum() / totals.sum()
    trials = hits.size
    if trials < 2 or share <= 0 or share >= 1:
        return 1.0
    residual = hits - share * totals
    variance = trials / (trials - 1) * float((residual**2).sum()) / float(totals.sum()) ** 2
    return max(1.0, variance * float(totals.sum()) / (share * (1 - share)))


def tail_share(
    delays: np.ndarray,
    beyond: int,
    confidence: float = 0.95,
    count: float | None = None,
    late: np.ndarray | None = None,
) -> Share:
    """P(delay is in a bin after ``beyond``) from delay counts of shape ``(trials, bins)``.

    ``late``: the late requests of each trial where the limit lies inside a bin. ``count`` is how many
    observations the total weight stands for (default: the weight itself, right for counts of requests or
    instants). Where hardly any trial has a hit, the design effect is taken at the longest delay that at least
    half of the trials have exceeded: clusters of late requests are alike at
    neighbouring levels.
    """
    totals = delays.sum(axis=1)
    weight = float(totals.sum())
    if weight <= 0:
        return Share(float("nan"), 0.0, 1.0, 0.0)
    hits = delays[:, beyond + 1 :].sum(axis=1) if late is None else late
    share = float(hits.sum()) / weight
    trials = totals.size
    level = hits
    if (hits > 0).sum() < max(2, trials // 2):
        beyond_each = np.cumsum(delays[:, ::-1], axis=1)[:, ::-1]
        enough = (beyond_each > 0).sum(axis=0) >= max(2, trials // 2)
        longest = int(np.nonzero(enough)[0].max(initial=0))
        level = beyond_each[:, longest]
    observations = weight if count is None else float(count)
    # the spread between trials measures the variance itself: weights need not be counts
    effective = observations / design_effect(
        level * (observations / weight), totals * (observations / weight)
    )
    if trials > 1:
        # the variance is itself estimated from few trials: one standard error more of it, and Student's t
        side = 1 - (1 - confidence) / 2
        effective /= 1 + float(np.sqrt(2 / (trials - 1)))
        effective *= float((t.ppf(side, max(effective, 2.0)) / t.ppf(side, trials - 1)) ** 2)
    effective = max(effective, 1.0)
    low, high = clopper_pearson(share * effective, effective, confidence)
    return Share(share, low, high, effective)


def quantile_slots(delays: np.ndarray, probability: float) -> int:
    """The least number of slots w with P(delay > w) ≤ 1 − probability, from pooled counts of any shape (…,
    bins).
    """
    pooled = delays.reshape(-1, delays.shape[-1]).sum(axis=0)
    late = np.append(np.cumsum(pooled[:0:-1])[::-1], 0.0)  # nothing is later than the last, to the last digit
    return int(np.argmax(late <= (1 - probability) * pooled.sum() * (1 + 1e-12)))


def quantile_interval(
    delays: np.ndarray, probability: float, confidence: float = 0.95, count: float | None = None
) -> tuple[int, int, int]:
    """(estimate, low, high) of a delay quantile in slots, by Woodruff's inversion."""
    estimate = quantile_slots(delays, probability)
    pooled = delays.sum(axis=0)
    share = tail_share(delays, estimate, confidence, count)
    nominal = 1 - probability
    # around the nominal level, with the effective number found at the estimate
    low, high = clopper_pearson(nominal * share.effective, share.effective, confidence)
    return estimate, quantile_slots(pooled, 1 - high), quantile_slots(pooled, 1 - low)


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
