"""Serial dependence: long-run variance, how much clustering inflates it, the extremal index.

The long-run variance comes from equally weighted cosines (Müller 2007; Lazarus, Lewis, Stock and Watson
2018): the first ν cosine transforms of a stationary series are asymptotically independent normals of the
series' long-run variance, so that their mean square is χ²_ν distributed and an interval uses Student's t
with ν degrees of freedom. No tuning of a kernel, no order of a model; what must hold is that the correlation
dies out well within n/ν samples.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

__all__ = [
    "CELLS",
    "cosine_transforms",
    "frequencies",
    "intervals_extremal_index",
    "k_gaps_extremal_index",
    "time_cells",
]

CELLS = 2048
"""Cells into which the time axis of a sample is cut before its cosine transforms."""

MAX_DEPENDENT = 12
MAX_INDEPENDENT = 64
MIN_DEPENDENT = 6


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


def cosine_transforms(series: np.ndarray, count: int = MAX_INDEPENDENT) -> np.ndarray:
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
    used = MAX_DEPENDENT
    inflation = 1.0
    for _ in range(3):
        inflation = max(float(np.mean(transforms[:used] ** 2)) / independent_variance, 1e-3)
        used = int(np.clip(0.19 * samples / inflation, MIN_DEPENDENT, MAX_DEPENDENT))
    wide = float(np.mean(transforms**2)) / independent_variance
    if max(inflation, wide) < 2.0:
        return transforms.size, wide
    return used, float(np.mean(transforms[:used] ** 2)) / independent_variance


def intervals_extremal_index(position: np.ndarray) -> float:
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


def k_gaps_extremal_index(position: np.ndarray, samples: int, gap: int = 1) -> tuple[float, float]:
    """Süveges and Davison's K-gaps estimate of the extremal index, with its standard error.

    gap: K, the run of non-exceedances within which exceedances belong together.
    """
    position = np.asarray(position)
    if position.size < 3:
        return 1.0, math.nan
    rate = position.size / samples
    spacing = rate * np.maximum(np.diff(position) - gap, 0)
    zero = int(np.sum(spacing == 0))
    positive = spacing.size - zero
    total = float(spacing.sum())
    # maximise zero·log(1−θ) + 2·positive·log θ − θ·total
    b = zero + 2 * positive + total
    estimate = (b - math.sqrt(max(b * b - 8 * positive * total, 0.0))) / (2 * total) if total > 0 else 0.0
    estimate = min(max(estimate, 1e-12), 1.0)
    information = 2 * positive / estimate**2 + (zero / (1 - estimate) ** 2 if estimate < 1 else 0.0)
    return float(estimate), float(1 / math.sqrt(information)) if information > 0 else math.nan
