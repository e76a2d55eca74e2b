"""The tail of a series above one threshold: fit, and what it takes to put an honest variance on anything
made of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from fedopt.audit.dependence import CELLS, MOST_INDEPENDENT, cosine_transforms, frequencies, time_cells
from fedopt.audit.gpd import Excesses, excesses, fit, scores
from fedopt.audit.profile import Tail, interval_of_probability, interval_of_quantile, quantile_gradient
from fedopt.audit.rounding import Grid

__all__ = ["Sample", "SeriesTail", "tail_above"]


@dataclass(frozen=True, eq=False)
class Sample:
    """The upper part of a series: its largest values with their places in time, and how long the series was.

    value: shape (k,), every value of the series above `floor` (−inf: all of them); position: shape (k,),
    their 0-based indices in time order, ascending; samples: length n of the series; grid: the rounding of
    the values; independent: whether the samples are known to be independent of each other.
    """

    value: np.ndarray
    position: np.ndarray
    samples: int
    grid: Grid
    floor: float = -math.inf
    independent: bool = False

    @cached_property
    def descending(self) -> np.ndarray:
        """The retained values, largest first."""
        return np.sort(self.value)[::-1]

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


@dataclass(frozen=True, eq=False)
class SeriesTail(Tail):
    """A fitted tail with the cosine transforms of its exceedance counts and scores, shape (3, 64).

    Row 0 belongs to the counts, rows 1 and 2 to the scores of (log β, ψ); `used`: how many cosines enter
    variances (ν); `clustering`: long-run variance of the counts over that of independent samples.
    """

    transforms: np.ndarray
    used: int
    clustering: float
    independent: bool

    @cached_property
    def _covariance(self) -> np.ndarray:
        return np.linalg.pinv(self.fit.information)

    def quantile_weights(self, probability: float) -> np.ndarray:
        """Weights of (count, score, score) in the first-order expansion of the quantile; shape (3,)."""
        by_fit, by_rate = quantile_gradient(self.fit, math.log(self.rate / (1 - probability)))
        return np.concatenate([[by_rate / self.excesses.total], self._covariance @ by_fit])

    def probability_weights(self, level: float) -> np.ndarray:
        """Weights of (count, score, score) in the first-order expansion of the survival at a level; shape
        (3,).
        """
        survival = float(self.fit.survival(level - self.threshold))
        weights = np.zeros(3)
        weights[0] = survival / self.samples
        if survival > 0:
            depth = -math.log(survival)
            by_fit, by_rate = quantile_gradient(self.fit, depth)
            weights[1:] = self._covariance @ by_fit * (self.rate * survival / by_rate)
        return weights

    def _independent_variance(self, weights: np.ndarray) -> float:
        counts = self.samples * self.rate * (1 - self.rate)
        return float(weights[0] ** 2 * counts + weights[1:] @ self.fit.information @ weights[1:])

    def variance(self, weights: np.ndarray) -> float:
        """Long-run variance of a first-order expansion with these weights of (count, score, score)."""
        return float(np.mean((weights @ self.transforms[:, : self.used]) ** 2))

    def inflation(self, probability: float) -> float:
        """By how much serial dependence inflates the variance behind Q_p; at least 1.

        The larger of the inflation of the quantile's own first-order expansion and that of the exceedance
        counts. The first is blind where too few clusters reach the quantile (it then knows only the clusters
        that happened, and the deviance would be judged by them); the counts, of which there are many more,
        are not.
        """
        if self.independent:
            return 1.0
        weights = self.quantile_weights(probability)
        independent = self._independent_variance(weights)
        own = self.variance(weights) / independent if independent > 0 else 1.0
        if self.used == MOST_INDEPENDENT:  # no dependence shows: both estimate the same number near 1
            return max(1.0, 0.5 * (own + self.clustering))
        return max(1.0, own, self.clustering)

    def critical(self, probability: float, confidence: float) -> float:
        """What the deviance may reach inside a two-sided interval: inflation × squared Student quantile with
        ν degrees.
        """
        if self.independent:
            return float(stats.chi2.ppf(confidence, 1))
        return self.inflation(probability) * float(stats.t.ppf(0.5 + confidence / 2, self.used)) ** 2

    def standard_error(self, probability: float) -> float:
        """First-order standard error of the quantile, dependence included."""
        weights = self.quantile_weights(probability)
        return math.sqrt(max(self._independent_variance(weights), 0.0) * self.inflation(probability))

    def quantile_interval(self, probability: float, confidence: float) -> tuple[float, float]:
        """Adjusted profile-likelihood interval of Q_p; see `interval_of_quantile` for its ends."""
        return interval_of_quantile(
            self, probability, self.critical(probability, confidence), self.standard_error(probability)
        )

    def probability_interval(self, level: float, confidence: float) -> tuple[float, float]:
        """Adjusted profile-likelihood interval of P(X > level), for a level above the threshold."""
        near = min(max(self.exceedance(level), 1e-3 / self.samples), 0.99 * self.rate)
        return interval_of_probability(self, level, self.critical(1 - near, confidence))


def tail_above(sample: Sample, threshold: float) -> SeriesTail:
    """Fit the tail above a threshold (for rounded data an edge of the grid). Raises ValueError with too few
    excesses.
    """
    mask = sample.above(threshold)
    position = sample.position[mask]
    width = sample.grid.width
    raw = (sample.grid.lower_edges(sample.value[mask]) if width > 0 else sample.value[mask]) - threshold
    data = excesses(np.maximum(raw, 0.0) if width > 0 else raw, width)
    result = fit(data)
    if width > 0:
        each = Excesses(data.left, data.right, data.weight, data.total)
        index = np.clip(np.searchsorted(data.left, raw - 0.25 * width), 0, data.left.size - 1)
        rows = scores(each, result)[index]
    else:
        rows = scores(Excesses(raw, raw, np.ones(raw.size), float(raw.size)), result)
    cell = time_cells(position, sample.samples)
    series = np.empty((3, CELLS))
    series[0] = np.bincount(cell, minlength=CELLS) - data.total / CELLS
    for axis in range(2):
        series[1 + axis] = np.bincount(cell, weights=rows[:, axis], minlength=CELLS)
    transforms = cosine_transforms(series)
    rate = data.total / sample.samples
    used, clustering = frequencies(sample.samples, transforms[0], sample.samples * rate * (1 - rate))
    return SeriesTail(
        threshold, sample.samples, data, result, transforms, used, max(clustering, 0.0), sample.independent
    )
