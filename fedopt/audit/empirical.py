"""Quantiles and exceedance probabilities straight from the counts, with intervals that respect serial
dependence.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from fedopt.audit.dependence import CELLS, cosine_transforms, frequencies, time_cells
from fedopt.audit.tails import Sample

__all__ = ["empirical_probability", "empirical_quantile", "share_interval"]


def share_interval(
    count: int, samples: int, inflation: float, degrees: float, confidence: float
) -> tuple[float, float]:
    """Interval of a share from `count` of `samples` when dependence inflates its variance.

    Independent samples (inflation 1, infinite degrees of freedom): Clopper–Pearson. Otherwise Wilson's score
    interval with samples/inflation effective observations and Student's t instead of the normal quantile.
    """
    alpha = 1 - confidence
    if inflation <= 1.0 and math.isinf(degrees):
        low = stats.beta.ppf(alpha / 2, count, samples - count + 1) if count > 0 else 0.0
        high = stats.beta.ppf(1 - alpha / 2, count + 1, samples - count) if count < samples else 1.0
        return float(low), float(high)
    z = float(stats.t.ppf(1 - alpha / 2, degrees))
    size = samples / max(inflation, 1.0)
    share = count / samples
    centre = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(share * (1 - share) / size + z * z / (4 * size * size))
    return max(0.0, centre - half), min(1.0, centre + half)


def clustering_at(sample: Sample, level: float) -> tuple[int, float, float]:
    """Count above a level, inflation of that count's variance by dependence (≥ 1), and degrees of freedom."""
    mask = sample.above(level)
    count = int(mask.sum())
    if sample.independent or count == 0 or count == sample.samples:
        return count, 1.0, math.inf
    cell = time_cells(sample.position[mask], sample.samples)
    series = np.bincount(cell, minlength=CELLS) - count / CELLS
    share = count / sample.samples
    used, inflation = frequencies(
        sample.samples, cosine_transforms(series), sample.samples * share * (1 - share)
    )
    return count, max(1.0, inflation), float(used)


def empirical_probability(
    sample: Sample, level: float, confidence: float
) -> tuple[float, tuple[float, float]]:
    """Share of the samples above a level, with its interval. Raises ValueError below the retained part of
    the series.
    """
    if level < sample.floor:
        raise ValueError(f"only values above {sample.floor:g} were kept; the level {level:g} is below")
    count, inflation, degrees = clustering_at(sample, level)
    if count == 0:
        inflation, degrees = _clustering_of_largest(sample)
    return count / sample.samples, share_interval(count, sample.samples, inflation, degrees, confidence)


def empirical_quantile(
    sample: Sample, probability: float, confidence: float
) -> tuple[float, tuple[float | None, float | None]]:
    """The sample quantile and its interval by inverting the interval of the share; None: beyond the data.

    Raises ValueError where the quantile lies below the retained part of the series.
    """
    ordered = sample.descending
    rank = max(math.ceil((1 - probability) * sample.samples - 1e-9), 1)
    if rank > ordered.size:
        raise ValueError(
            f"the quantile {probability:g} lies below the {ordered.size} largest values "
            "that were kept; keep more"
        )
    estimate = float(ordered[rank - 1])
    _, inflation, degrees = clustering_at(sample, float(ordered[min(rank, ordered.size - 1)]))
    low_share, high_share = share_interval(rank, sample.samples, inflation, degrees, confidence)
    high_rank = math.floor(low_share * sample.samples)
    low_rank = math.ceil(high_share * sample.samples)
    high = float(ordered[high_rank - 1]) if high_rank >= 1 else None
    low = float(ordered[low_rank - 1]) if low_rank <= ordered.size else None
    return estimate, (low, high)


def _clustering_of_largest(sample: Sample) -> tuple[float, float]:
    """Clustering among the largest hundredth of the samples, for a level that none of them reached."""
    _, inflation, degrees = clustering_at(sample, sample.upper(max(sample.samples // 100, 1)))
    return inflation, degrees
