"""Drift: does the tail of a series change with time, and does the change last?

The series is cut into cells much longer than its correlation. Each cell gives three numbers: its tail load
(the sum of excesses over a common level) and its maximum, of which only the ranks are used (equal ones in
random order: capped series have many), and how often it exceeds the promised quantile. If nothing changes,
the cells are exchangeable, so that the largest contrast between any stretch of cells and the rest has a known
distribution whatever the law of the delays, that of random orders: the false-alarm rate is the level asked
for, shared among the three, up to the correlation left between neighbouring cells, which the contrast is
corrected for.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import stats

from fedopt.audit.counts import cosine_transforms, count_top, time_cells
from fedopt.audit.document import DriftReport
from fedopt.audit.sample import Sample
from fedopt.audit.settings import METHOD

__all__ = ["find_drift"]


def find_drift(
    sample: Sample, level: float = 0.01, share: float = 0.1, promised: float = 0.001
) -> DriftReport:
    """Test a series for drift of its tail at the false-alarm rate `level`.

    share: part of the samples above the common level of which the excesses are taken; promised: 1 − p of the
    quantile whose exceedances are counted (at least 30 in all).
    """
    threshold = max(sample.upper(int(share * sample.samples)), sample.floor)
    possible = int(sample.samples / (METHOD.cell_lengths * local_clustering(sample, threshold)))
    cells = max((size for size in METHOD.drift_cells if size <= possible), default=possible)
    if cells < METHOD.drift_cells[0]:
        return DriftReport(kind="unknown", statistic=0.0, critical=None, cells=cells, false_alarm_rate=level)
    cell = (sample.position * cells) // sample.samples
    value = np.where(np.isinf(sample.value), 2 * abs(sample.maximum) + abs(threshold), sample.value)
    excess = np.maximum(value - threshold, 0.0)
    load = np.bincount(cell, weights=excess, minlength=cells)
    peak = np.full(cells, sample.floor if math.isfinite(sample.floor) else value.min())
    np.maximum.at(peak, cell, value)
    ranked = _critical_value(cells, level / 4)
    rows = [(*_largest_contrast(_normal_scores(row)), ranked, cells) for row in (load, peak)]
    few = min(cells, METHOD.count_cells)
    count = min(max(round(promised * sample.samples), METHOD.fewest_counted), int(share * sample.samples))
    count = int(np.count_nonzero(sample.value >= sample.descending[count - 1]))  # equal values together
    counts = np.bincount((sample.places[:count] * few) // sample.samples, minlength=few).astype(float)
    rows.append((*_largest_contrast(counts), _permuted_critical(counts, level / 4), few))
    statistic, first, last, critical, of = max(rows, key=lambda row: abs(row[0]) / row[3])
    if abs(statistic) <= critical:
        excess_spread, limit = _spread(sample, count, counts, level / 4)
        found = DriftReport(
            kind="none", statistic=abs(statistic), critical=critical, cells=cells, false_alarm_rate=level
        )
        if excess_spread <= limit:
            return found
        place = int(np.argmax(counts))  # several excursions leave no stretch that stands out
        return found.model_copy(
            update={
                "kind": "transient",
                "direction": "heavier",
                "start": place * sample.samples // few,
                "end": (place + 1) * sample.samples // few,
                "load_ratio": float(counts[place] / max(np.delete(counts, place).mean(), 1e-9)),
                "statistic": excess_spread,
                "critical": limit,
                "cells": few,
            }
        )
    first, last = (first * cells) // of, (last * cells) // of
    if first == 0:  # told from the change on: what differs is the rest of the series
        statistic, first, last = -statistic, last, cells
    edges = (np.arange(cells + 1) * sample.samples) // cells
    inside = np.zeros(cells, dtype=bool)
    inside[first:last] = True
    within, outside = float(load[inside].mean()), float(load[~inside].mean())
    return DriftReport(
        kind="systematic" if last == cells else "transient",
        direction="heavier" if statistic > 0 else "lighter",
        start=int(edges[first]),
        end=int(edges[last]),
        load_ratio=within / outside if outside > 0 else None,
        statistic=abs(statistic),
        critical=critical,
        cells=cells,
        false_alarm_rate=level,
    )


def local_clustering(sample: Sample, threshold: float) -> float:
    """Inflation of exceedance counts by dependence (about twice the correlation length, in samples), at
    least 1.

    The median over eight stretches of the series, each against its own mean, so that a change of level,
    which is what is looked for, does not pass for correlation.
    """
    shape = METHOD.segments, METHOD.segment_cells
    cell = time_cells(sample.position[sample.above(threshold)], sample.samples, math.prod(shape))
    counts = np.bincount(cell, minlength=math.prod(shape)).reshape(shape)
    totals = counts.sum(axis=1)
    length = sample.samples / METHOD.segments
    shares = totals / length
    power = np.mean(
        cosine_transforms(counts - counts.mean(axis=1, keepdims=True), METHOD.segment_cosines) ** 2, axis=1
    )
    seen = totals >= 10
    if not seen.any():
        return 1.0
    inflation = power[seen] / (length * shares[seen] * np.maximum(1 - shares[seen], 1e-3))
    return max(1.0, 1.2 * float(np.median(inflation)))


def _normal_scores(values: np.ndarray) -> np.ndarray:
    order = np.random.default_rng(values.size).permutation(values.size)  # equal values in random order
    ranks = np.empty(values.size)
    ranks[order] = stats.rankdata(values[order], method="ordinal")
    return np.asarray(stats.norm.ppf((ranks - 0.5) / values.size))


def _contrasts(scores: np.ndarray) -> np.ndarray:
    """Standardised contrast of every stretch [a, b) of 2 … M−2 cells with the rest; shape (…, M+1, M+1)."""
    cells = scores.shape[-1]
    centred = scores - scores.mean(axis=-1, keepdims=True)
    spread = np.maximum(np.sqrt(np.mean(centred**2, axis=-1)), 1e-12)[..., None, None]
    total = np.concatenate([np.zeros((*scores.shape[:-1], 1)), np.cumsum(centred, axis=-1)], axis=-1)
    length, valid = _lengths(cells)
    sums = total[..., None, :] - total[..., :, None]
    scale = np.sqrt(np.where(valid, length * (cells - length) / cells, 1.0))
    return np.where(valid, sums / (spread * scale), 0.0)


@lru_cache(maxsize=4)
def _lengths(cells: int) -> tuple[np.ndarray, np.ndarray]:
    length = np.arange(cells + 1)[None, :] - np.arange(cells + 1)[:, None]
    return length, (length >= 2) & (length <= cells - 2)


def _largest_contrast(scores: np.ndarray) -> tuple[float, int, int]:
    """The largest contrast (signed, corrected for correlation of neighbouring cells) and its stretch [a,
    b).
    """
    contrasts = _contrasts(scores)
    size = np.abs(contrasts)
    one_change = np.zeros_like(size)
    one_change[0], one_change[:, -1] = size[0], size[:, -1]
    # A return is believed only where it explains more than one further change point costs (Bayes
    # information).
    returned = size.max() ** 2 > one_change.max() ** 2 + 2 * math.log(scores.size)
    first, last = np.unravel_index(int(np.argmax(size if returned else one_change)), size.shape)
    residual = scores - scores.mean()
    inside = np.zeros(scores.size, dtype=bool)
    inside[first:last] = True
    for part in (inside, ~inside):
        residual[part] -= residual[part].mean()
    power = float(residual @ residual)
    correlation = float(residual[1:] @ residual[:-1]) / power if power > 0 else 0.0
    correlation = min(max(correlation + 2 / scores.size, 0.0), 0.8)
    shrink = math.sqrt((1 - correlation) / (1 + correlation))
    return float(contrasts[first, last]) * shrink, int(first), int(last)


@lru_cache(maxsize=64)
def _critical_value(cells: int, level: float) -> float:
    """The quantile of the largest absolute contrast over random orders of the normal scores (fixed seed)."""
    rng = np.random.default_rng(np.random.SeedSequence([cells, 20_260_101]))
    scores = _normal_scores(np.arange(cells))
    largest = []
    batch = max(1, 2_000_000 // (cells + 1) ** 2)
    for start in range(0, METHOD.draws, batch):
        orders = rng.permuted(np.tile(scores, (min(batch, METHOD.draws - start), 1)), axis=1)
        largest.append(np.abs(_contrasts(orders)).max(axis=(1, 2)))
    return float(np.quantile(np.concatenate(largest), 1 - level))


def _permuted_critical(scores: np.ndarray, level: float) -> float:
    """The same quantile over random orders of these very scores (fixed seed); at least 1."""
    rng = np.random.default_rng(np.random.SeedSequence([scores.size, 20_260_102]))
    orders = rng.permuted(np.tile(scores, (METHOD.draws, 1)), axis=1)
    return max(float(np.quantile(np.abs(_contrasts(orders)).max(axis=(1, 2)), 1 - level)), 1.0)


def _spread(sample: Sample, count: int, counts: np.ndarray, level: float) -> tuple[float, float]:
    """How much more the counts of the cells vary than clusters that come at random would let them, and what
    that ratio of variances may reach.
    """
    counted = count_top(sample, count)
    threshold = float(sample.descending[min(count, sample.descending.size - 1)])
    inflation = max(counted.inflation, local_clustering(sample, threshold) if np.isfinite(threshold) else 1.0)
    degrees = min(counted.degrees, 1e6)
    ratio = float(counts.var(ddof=1) / (counts.mean() * inflation))
    return ratio, float(stats.f.isf(level, counts.size - 1, degrees))
