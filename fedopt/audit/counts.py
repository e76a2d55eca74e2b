"""Exceedance probabilities and quantiles straight from the counts, with intervals that respect dependence.

Independent samples: Clopper–Pearson. Otherwise the series is cut into episodes at the crossings of its
median; exceedances come in clusters, one an episode. If clusters come at random and have sizes of mean m and
coefficient of variation c, a count N of K clusters has the variance N·m(1 + c²): the interval is that of
N/m(1 + c²) independent events. Where fewer than 30 clusters reach the level, m and c are those of the highest
level that 30 reach: they settle as the level rises. With no cluster at all the upper end is that of none
seen, times m. Dependence that crosses the median too quickly for episodes to hold it (a slow load under quick
noise) shows in the long-run variance; the wider of the two intervals is taken.

The long-run variance comes from equally weighted cosines (Müller 2007; Lazarus, Lewis, Stock and Watson
2018): the first ν cosine transforms of a stationary series are asymptotically independent normals of the
series' long-run variance, so that their mean square is χ²_ν distributed and an interval uses Student's t
with ν degrees of freedom. No tuning of a kernel, no order of a model; what must hold is that the correlation
dies out well within n/ν samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from fedopt.audit.sample import Sample
from fedopt.audit.settings import METHOD

__all__ = [
    "CELLS",
    "Counted",
    "cosine_transforms",
    "count_above",
    "count_top",
    "empirical_quantile",
    "extremal_index",
    "few_clusters",
    "frequencies",
    "share_interval",
    "time_cells",
]

CELLS = 2048
"""Cells into which the time axis of a sample is cut before its cosine transforms."""


@dataclass(frozen=True)
class Counted:
    """How many of `samples` exceed a level, in how many clusters, and by how much clustering widens an
    interval.

    size: mean samples in a cluster. inflation: of the count's variance; alone: the same where nothing was
    seen; degrees: of freedom behind them. reference: clusters from which they were learned. slow: inflation
    and degrees of freedom of the long-run variance, where it shows dependence. independent: known to be.
    """

    count: int
    samples: int
    clusters: int
    size: float
    inflation: float
    alone: float
    degrees: float
    reference: int
    slow: tuple[float, float] | None = None
    independent: bool = False

    @property
    def share(self) -> float:
        """The share of the samples above the level."""
        return self.count / self.samples

    def interval(self, confidence: float, caution: float = 1.0) -> tuple[float, float]:
        """Two-sided interval of the probability of exceeding the level; caution: a factor on its variance."""
        kinds = [(self.inflation, self.degrees)]
        if self.slow is not None and self.slow[0] > self.inflation:
            kinds.append(self.slow)
        single = self.alone / self.inflation
        ends = [
            share_interval(self.count, self.samples, caution * by, degrees, confidence, caution * by * single)
            for by, degrees in kinds
        ]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def bounded(self, share: float, confidence: float) -> bool:
        """Whether the interval ends at or below a share.

        Of dependent data the interval of 1.4 times the variance must, of twice where fewer than 20 clusters
        reach the level, or that share: few and small ones may have come by luck. Of data that show no
        dependence that of twice must where the share would show in fewer than 8 samples, too few to show any.
        """
        return self.interval(confidence, self.caution(share))[1] <= share

    def caution(self, share: float) -> float:
        """The factor on the variance with which `bounded` judges a share."""
        if self.independent:
            return 1.0
        expected = share * self.samples / self.size
        if not self.dependent:
            return METHOD.few_caution if expected < METHOD.telling else 1.0
        few = self.clustered and min(self.clusters, expected) < METHOD.trusted_clusters
        return METHOD.few_caution if few else METHOD.caution

    @property
    def dependent(self) -> bool:
        """Whether samples show dependence of any kind."""
        return self.clustered or self.slow is not None

    @property
    def clustered(self) -> bool:
        """Whether exceedances come in clusters enough to matter."""
        return max(self.inflation, self.size) > METHOD.clustered


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
        return Counted(count, n, count, 1.0, 1.0, 1.0, math.inf, count, independent=sample.independent)
    labels, first = sample.episodes
    if count > labels.size:  # a level below the median: episodes say nothing, cosines do
        used, inflation = _long_run(sample, count)
        size = max(1.0, inflation)
        return Counted(count, n, max(1, round(count / size)), size, size, 1.0, used, count)
    clusters = int(np.searchsorted(first, count, side="right"))
    enough = min(METHOD.reference_clusters, first.size)
    reach = max(count, int(first[enough - 1]) if enough else 0)
    sizes = np.bincount(labels[:reach])
    sizes = sizes[sizes > 0].astype(float)
    mean = float(sizes.mean()) if sizes.size else 1.0
    # the largest cluster counts twice: of heavy-tailed sizes a larger one is still to come
    square = float(sizes @ sizes + sizes.max() ** 2) / (sizes.size + 1) if sizes.size else 1.0
    spread = max(square / mean**2 - 1, 0.0)
    slow = None
    if reach >= 2:
        used, inflation = _long_run(sample, reach)
        slow = (inflation, float(used)) if inflation > METHOD.dependent else None
    inflation = mean * (1 + spread)
    # independent values: an episode has two other places on average, half of them above the median
    pairs, expected = float(sizes @ (sizes - 1)) / 2, 2 * reach**2 / n
    if sizes.size >= METHOD.reference_clusters and pairs <= expected + 2 * math.sqrt(expected) + 1:
        return Counted(count, n, clusters, 1.0, 1.0, 1.0, math.inf, int(sizes.size), slow)
    return Counted(
        count,
        n,
        clusters,
        mean,
        max(1.0, inflation),
        max(1.0, mean * (1 + spread * clusters / (clusters + 1))),
        max(sizes.size / (1 + spread), 3.0),
        int(sizes.size),
        slow,
    )


def few_clusters(counted: Counted) -> str | None:
    """Why an interval from these counts is not to be relied on; None where it is."""
    if counted.reference < METHOD.reference_clusters and not math.isinf(counted.degrees):
        return (
            f"the whole series has only {counted.reference} independent episodes "
            f"({METHOD.reference_clusters} or more are needed); record longer"
        )
    clusters = min(counted.clusters, counted.count / counted.size)
    if clusters < METHOD.trusted_clusters and counted.dependent:
        times = METHOD.trusted_clusters / max(clusters, 0.5)
        reach = "episode reaches" if counted.clusters == 1 else "episodes reach"
        return (
            f"only {counted.clusters} independent {reach} this far; "
            f"about {times * counted.samples:,.0f} samples would hold {METHOD.trusted_clusters}"
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


@lru_cache(maxsize=4)
def _cosines(count: int, cells: int) -> np.ndarray:
    """√2 cos(πk(t+½)/cells), k = 1..count; shape (count, cells)."""
    time = (np.arange(cells) + 0.5) / cells
    matrix = math.sqrt(2) * np.cos(np.pi * np.outer(np.arange(1, count + 1), time))
    matrix.setflags(write=False)
    return matrix


def time_cells(position: np.ndarray, samples: int, cells: int = CELLS) -> np.ndarray:
    """Cell of each position (0-based index in time order) when `samples` are cut into equal cells."""
    return (np.asarray(position, dtype=np.int64) * cells) // samples


def cosine_transforms(series: np.ndarray, count: int = METHOD.most_cosines) -> np.ndarray:
    """The first `count` cosine transforms of sums per cell (shape (cells,) or (m, cells)); shape (…, count).

    Each has mean 0 and the variance of the total sum, if the series is stationary.
    """
    return np.asarray(series) @ _cosines(count, np.asarray(series).shape[-1]).T


def frequencies(samples: int, transforms: np.ndarray, independent_variance: float) -> tuple[int, float]:
    """How many of the transforms to use (ν), and the inflation they show: long-run variance ÷ that of
    independence.

    samples: length of the series; transforms: those of the exceedance indicator, shape (≥ 64,). The period
    of the highest frequency used is kept at least 10 times the correlation length that the inflation
    implies. Between 6 and 12; 64 where no dependence shows.
    """
    used = METHOD.cosines
    inflation = 1.0
    for _ in range(3):
        inflation = max(float(np.mean(transforms[:used] ** 2)) / independent_variance, 1e-3)
        used = int(np.clip(0.19 * samples / inflation, METHOD.fewest_cosines, METHOD.cosines))
    wide = float(np.mean(transforms**2)) / independent_variance
    if max(inflation, wide) < 2.0:
        return transforms.size, wide
    return used, float(np.mean(transforms[:used] ** 2)) / independent_variance


def extremal_index(position: np.ndarray) -> float:
    """Ferro and Segers' intervals estimator of the extremal index from exceedance times; 1 = no clustering.

    position: ascending indices of the exceedances, shape (k,), k ≥ 3; fewer give 1.
    """
    gaps = np.diff(np.asarray(position, dtype=float))
    if gaps.size < 2:
        return 1.0
    if gaps.max() <= 2:
        estimate = 2 * gaps.sum() ** 2 / (gaps.size * np.sum(gaps**2))
    else:
        shifted = np.sum((gaps - 1) * (gaps - 2))
        estimate = 2 * np.sum(gaps - 1) ** 2 / (gaps.size * shifted)
    return float(min(1.0, estimate))
