"""Exceedance probabilities and quantiles straight from the counts, with intervals that respect dependence.

Independent samples: Clopper–Pearson. Otherwise the series is cut into episodes at the crossings of its
median; exceedances come in clusters, one an episode. If clusters come at random and have sizes of mean m and
coefficient of variation c, a count N of K clusters has the variance N·m(1 + c²): the interval is that of
N/m(1 + c²) independent events. Where fewer than 30 clusters reach the level, m and c are those of the highest
level that 30 reach: they settle as the level rises. With no cluster at all the upper end is that of none
seen, times m. Dependence that crosses the median too quickly for episodes to hold it (a slow load under quick
noise) shows in the long-run variance from equally weighted cosines; the wider of the two intervals is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from fedopt.audit.dependence import CELLS, cosine_transforms, frequencies, time_cells
from fedopt.audit.sample import Sample

__all__ = ["Counted", "count_above", "count_top", "empirical_quantile", "few_clusters", "share_interval"]

REFERENCE_CLUSTERS = 30
TRUSTED_CLUSTERS = 8
CLUSTERED = 1.25
SLOW = 1.4
"""Least inflation of long-run variance that is no accident of its 64 cosines (a standard error of 0.18)."""


@dataclass(frozen=True)
class Counted:
    """How many of `samples` exceed a level, in how many clusters, and by how much clustering widens an
    interval.

    inflation: of the count's variance; alone: the same where nothing was seen (the mean size of a cluster);
    degrees: of freedom behind them. reference: clusters from which they were learned.
    """

    count: int
    samples: int
    clusters: int
    inflation: float
    alone: float
    degrees: float
    reference: int
    slow: tuple[float, float] | None = None

    @property
    def share(self) -> float:
        """The share of the samples above the level."""
        return self.count / self.samples

    def interval(self, confidence: float) -> tuple[float, float]:
        """Two-sided interval of the probability of exceeding the level."""
        ends = [
            share_interval(
                self.count, self.samples, self.inflation, self.degrees, confidence, alone=self.alone
            )
        ]
        if self.slow is not None and self.slow[0] > self.inflation:
            ends.append(share_interval(self.count, self.samples, *self.slow, confidence))
        return min(low for low, _ in ends), max(high for _, high in ends)


def share_interval(
    count: int,
    samples: int,
    inflation: float,
    degrees: float,
    confidence: float,
    alone: float | None = None,
) -> tuple[float, float]:
    """Interval of a share from `count` of `samples` when dependence inflates its variance.

    Clopper–Pearson of samples/inflation observations at the level at which Student's t with `degrees` has
    its quantile. alone: inflation of the upper end where `count` is zero (default: the same).
    """
    tail = (1 - confidence) / 2
    if math.isfinite(degrees):
        tail = float(special.ndtr(-special.stdtrit(degrees, 1 - tail)))
    high_by = inflation if alone is None else alone
    low = special.betaincinv(count / inflation, (samples - count) / inflation + 1, tail) if count else 0.0
    high = (
        1 - special.betaincinv((samples - count) / high_by, count / high_by + 1, tail)
        if count < samples
        else 1.0
    )
    return float(low), float(high)


def count_above(sample: Sample, level: float) -> Counted:
    """Count the samples above a level. Raises ValueError below the retained part of the series."""
    return count_top(sample, sample.count_above(level))


def count_top(sample: Sample, count: int) -> Counted:
    """The same for the level that exactly `count` samples exceed."""
    n = sample.samples
    if sample.independent or count == n:
        return Counted(count, n, count, 1.0, 1.0, math.inf, count)
    labels, first = sample.episodes
    if count > labels.size:  # a level below the median: episodes say nothing, cosines do
        used, inflation = _long_run(sample, count)
        return Counted(count, n, max(1, round(count / inflation)), max(1.0, inflation), 1.0, used, count)
    clusters = int(np.searchsorted(first, count, side="right"))
    enough = min(REFERENCE_CLUSTERS, first.size)
    reach = max(count, int(first[enough - 1]) if enough else 0)
    sizes = np.bincount(labels[:reach])
    sizes = sizes[sizes > 0].astype(float)
    mean = float(sizes.mean()) if sizes.size else 1.0
    spread = float(sizes.var()) / mean**2
    slow = None
    if count >= 2:
        used, inflation = _long_run(sample, count)
        slow = (inflation, float(used)) if inflation > SLOW else None
    inflation = mean * (1 + spread)
    # independent values: an episode has two other places on average, half of them above the median
    pairs, expected = float(sizes @ (sizes - 1)) / 2, 2 * reach**2 / n
    if sizes.size >= REFERENCE_CLUSTERS and pairs <= expected + 2 * math.sqrt(expected) + 1:
        return Counted(count, n, clusters, 1.0, 1.0, math.inf, int(sizes.size), slow)
    return Counted(
        count,
        n,
        clusters,
        max(1.0, inflation),
        max(1.0, mean * (1 + spread * clusters / (clusters + 1))),
        max(sizes.size / (1 + spread), 3.0),
        int(sizes.size),
        slow,
    )


def few_clusters(counted: Counted) -> str | None:
    """Why an interval from these counts is not to be relied on; None where it is."""
    if counted.reference < REFERENCE_CLUSTERS and not math.isinf(counted.degrees):
        return (
            f"the whole series has only {counted.reference} independent episodes "
            f"({REFERENCE_CLUSTERS} or more are needed); record longer"
        )
    clustered = max(counted.inflation, counted.count / max(counted.clusters, 1)) > CLUSTERED
    if counted.clusters < TRUSTED_CLUSTERS and clustered:
        times = TRUSTED_CLUSTERS / max(counted.clusters, 0.5)
        reach = "episode reaches" if counted.clusters == 1 else "episodes reach"
        return (
            f"only {counted.clusters} independent {reach} this far; "
            f"about {times * counted.samples:,.0f} samples would hold {TRUSTED_CLUSTERS}"
        )
    return None


def empirical_quantile(
    sample: Sample, probability: float, confidence: float
) -> tuple[float, tuple[float | None, float | None], Counted]:
    """The sample quantile, and its interval: all levels whose share's interval holds 1 − p.

    An end that is None lies beyond the data; +inf: among what did not come back. Raises ValueError where the
    quantile lies below the retained part of the series.
    """
    ordered, tail = sample.descending, 1 - probability
    rank = max(math.ceil(tail * sample.samples - 1e-9), 1)
    if rank > ordered.size:
        raise ValueError(
            f"the quantile {probability:g} lies below the {ordered.size} largest values "
            "that were kept; keep more"
        )

    def ends(count: int) -> tuple[float, float]:
        return count_top(sample, count).interval(confidence)

    # the upper end is the highest level that could still be exceeded with 1 − p
    fewest = rank - _first(lambda less: ends(rank - less)[1] < tail, 1, rank) + 1
    most = _first(lambda count: ends(count)[0] > tail, rank, ordered.size)
    high = None if fewest == 0 else float(ordered[fewest - 1])
    low = float(ordered[most - 1]) if most <= ordered.size else None
    return float(ordered[rank - 1]), (low, high), count_top(sample, rank - 1)


def _first(holds: Callable[[int], bool], start: int, limit: int) -> int:
    """The first number from `start` to `limit` for which `holds`, which rises with it; limit + 1: none
    does.
    """
    low, step = start, 1
    while not holds(min(low + step - 1, limit)):
        low, step = low + step, 2 * step
        if low > limit:
            return limit + 1
    high = min(low + step - 1, limit)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return high


def _long_run(sample: Sample, count: int) -> tuple[int, float]:
    """Cosines used and inflation of the count of the largest `count` samples by the long-run variance."""
    n, share = sample.samples, count / sample.samples
    cell = time_cells(sample.places[:count], n)
    series = np.bincount(cell, minlength=CELLS) - count / CELLS
    return frequencies(n, cosine_transforms(series), n * share * (1 - share))
