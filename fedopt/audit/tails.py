"""The tail of a series above one threshold: its fit, profile-likelihood intervals of quantiles and
probabilities, and the variance that serial dependence leaves them.

The model of n values is binomial above the threshold q (probability ζ) and generalised Pareto beyond it; the
share π of requests that are late whatever the deadline is an atom above everything. A quantile Q_p = q + h
fixes v(h; ψ)/β = log(ζ/(1 − p − π)); the profile maximises over the two parameters left, (ψ, ζ).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from fedopt.audit.counts import CELLS, cosine_transforms, frequencies, time_cells
from fedopt.audit.gpd import (
    Excesses,
    Fit,
    excesses,
    fit,
    moments,
    rate_terms,
    scores,
    search_range,
    transformed,
)
from fedopt.audit.sample import Sample
from fedopt.audit.settings import METHOD
from fedopt.kernels import kernel

__all__ = [
    "SeriesTail",
    "Tail",
    "deviance",
    "interval_of_quantile",
    "tail_above",
    "tail_quantile",
]


@dataclass(frozen=True, eq=False)
class Tail:
    """A fitted tail of a sample: threshold q, n samples, excesses and their fit. ζ = excesses.total /
    samples. atom: share of the samples that are late whatever the deadline, above every excess.
    """

    threshold: float
    samples: int
    excesses: Excesses
    fit: Fit
    atom: float = 0.0

    @property
    def rate(self) -> float:
        """ζ, the share of the samples above the threshold, without the atom."""
        return self.excesses.total / self.samples

    def depth(self, probability: float) -> float:
        """log(ζ/(1 − p − π)): how far Q_p lies beyond the threshold; +inf for one within the atom."""
        left = 1 - probability - self.atom
        return math.log(self.rate / left) if left > 0 else math.inf

    def quantile(self, probability: float) -> float:
        """Q_p = q + β/ξ[((1−p−π)/ζ)^{−ξ} − 1]; needs 1 − p − π ≤ ζ; +inf within the atom."""
        depth = self.depth(probability)
        return tail_quantile(self.threshold, self.fit, depth) if math.isfinite(depth) else math.inf

    def exceedance(self, level: float) -> float:
        """P(X > level) for a level at or above the threshold."""
        return self.atom + self.rate * float(self.fit.survival(level - self.threshold))


def tail_quantile(threshold: float, fit: Fit, depth: float) -> float:
    """Threshold plus the excess with survival e^{−depth}; depth = log(ζ/(1−p)) ≥ 0."""
    x = fit.shape * depth
    if abs(x) < 1e-8:
        return threshold + fit.scale * depth * (1 + x / 2)
    return threshold + math.expm1(x) / fit.psi


def quantile_gradient(fit: Fit, depth: float) -> tuple[np.ndarray, float]:
    """∂Q/∂(log β, ψ), shape (2,), and ∂Q/∂ log ζ."""
    x = fit.shape * depth
    stretch = math.exp(x)
    if abs(x) < 1e-4:
        by_psi = (fit.scale * depth) ** 2 * (0.5 + x / 3)
    else:
        by_psi = (fit.scale * depth * stretch - math.expm1(x) / fit.psi) / fit.psi
    return np.array([fit.scale * depth * stretch, by_psi]), fit.scale * stretch


@kernel
def _at(left, right, weight, total, samples, height, log_tail, psi, log_rate, v) -> tuple[float, float]:
    """Least negative log-likelihood at fixed ψ over ζ on the manifold v(height)/β = log ζ − log_tail; and
    its log ζ.
    """
    exact = moments(left, right, weight, psi, v)
    top = transformed(height, psi)
    if not (exact < math.inf and top < math.inf) or v[-1, 0] == math.inf:
        return math.inf, log_rate
    smallest = top * psi / -0.99 if psi < 0 else 0.0  # keeps ξ = ψβ at or above −0.99
    x = log_rate
    for _ in range(60):
        depth = x - log_tail
        rate = depth / top
        _, first, second = rate_terms(weight, v, exact, total, rate)
        zeta = math.exp(x)
        odds = zeta / (1.0 - zeta)
        slope = first / top - total + (samples - total) * odds
        bend = second / (top * top) + (samples - total) * odds / (1.0 - zeta)
        new = x - slope / bend if bend > 0.0 else x
        low = log_tail + max(smallest, 1e-9)
        new = min(max(new, 0.5 * (x + low)), 0.5 * x)
        done = abs(new - x) < 1e-10
        x = new
        if done:
            break
    depth = x - log_tail
    if depth < smallest:
        return math.inf, log_rate
    value, _, _ = rate_terms(weight, v, exact, total, depth / top)
    return value + psi * exact - total * x - (samples - total) * math.log1p(-math.exp(x)), x


@kernel
def _profile(left, right, weight, total, samples, height, log_tail, largest, middle) -> float:
    """Least negative log-likelihood over (ψ, ζ) under the constraint; scan, then golden section in log(1 +
    ψ·reach).
    """
    v = np.empty((left.size, 2))
    reach = max(largest, height)
    low, high = search_range(reach, middle)
    start = min(max(math.log(total / samples), log_tail + 1e-3), -1e-9)
    steps = 32
    width = (high - low) / steps
    best = math.inf
    centre = 0.0
    log_rate = start
    for k in range(steps + 1):
        t = low + k * width
        value, x = _at(left, right, weight, total, samples, height, log_tail, math.expm1(t) / reach, start, v)
        if value < best:
            best = value
            centre = t
            log_rate = x
    golden = 0.6180339887498949
    a, b = centre - width, centre + width
    c = b - golden * (b - a)
    d = a + golden * (b - a)
    fc, _ = _at(left, right, weight, total, samples, height, log_tail, math.expm1(c) / reach, log_rate, v)
    fd, _ = _at(left, right, weight, total, samples, height, log_tail, math.expm1(d) / reach, log_rate, v)
    for _ in range(24):
        if fc < fd:
            b, d, fd = d, c, fc
            c = b - golden * (b - a)
            fc, _ = _at(
                left, right, weight, total, samples, height, log_tail, math.expm1(c) / reach, log_rate, v
            )
        else:
            a, c, fc = c, d, fd
            d = a + golden * (b - a)
            fd, _ = _at(
                left, right, weight, total, samples, height, log_tail, math.expm1(d) / reach, log_rate, v
            )
    return min(best, fc, fd)


def deviance(tail: Tail, level: float, tail_probability: float) -> float:
    """Twice the drop of the log-likelihood when P(X > level) = tail_probability is imposed; ≥ 0.

    level > threshold; 0 < tail_probability < 1. Under independence it is χ²₁ distributed at the truth.
    """
    if tail_probability <= tail.atom:
        return math.inf
    data, zeta = tail.excesses, tail.rate
    free = tail.fit.negative_log_likelihood - data.total * math.log(zeta)
    if zeta < 1:
        free -= (tail.samples - data.total) * math.log1p(-zeta)
    held = _profile(
        data.left,
        data.right,
        data.weight,
        data.total,
        float(tail.samples),
        level - tail.threshold,
        math.log(tail_probability - tail.atom),
        data.largest,
        data.middle,
    )
    return max(2 * (held - free), 0.0)


def interval_of_quantile(
    tail: Tail, probability: float, critical: float, error: float
) -> tuple[float, float]:
    """All levels Q with deviance(Q, 1−p) ≤ critical. `error`: a guess of the half-width, unit of the data.

    The lower end is never below the threshold (a value there means: at or below it); the upper end is +inf
    where the likelihood does not fall to the critical value within 10,000 times the largest excess.
    """
    estimate = tail.quantile(probability)
    if not math.isfinite(estimate):
        return math.inf, math.inf
    excess = estimate - tail.threshold
    reach = 1e4 * max(tail.excesses.largest, excess)

    def beyond(level: float) -> float:
        return deviance(tail, level, 1 - probability) - critical

    low = _cross(beyond, estimate, -max(error, 1e-6 * excess), tail.threshold + 1e-6 * max(excess, 1e-300))
    high = _cross(
        beyond, estimate, max(error, 1e-6 * max(excess, tail.excesses.largest)), tail.threshold + reach
    )
    return (tail.threshold if low is None else low), (math.inf if high is None else high)


def _cross(beyond: Callable[[float], float], start: float, step: float, limit: float) -> float | None:
    """The first sign change of `beyond` from `start` in the direction of `step`, to 1e-4 of the distance
    walked; None where there is none before the limit.
    """
    inside, outside, sign = start, start + step, math.copysign(1.0, step)
    while beyond(outside := limit if sign * (limit - outside) <= 0 else outside) <= 0:
        if outside == limit:
            return None
        inside, outside = outside, outside + 1.7 * (outside - start)
    tolerance = 1e-4 * abs(outside - start)
    return float(brentq(lambda level: min(beyond(level), 1e9), inside, outside, xtol=tolerance, rtol=1e-12))


@dataclass(frozen=True, eq=False, kw_only=True)
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
        by_fit, by_rate = quantile_gradient(self.fit, self.depth(probability))
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
        if self.used == METHOD.most_cosines:  # no dependence shows: both estimate the same number near 1
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


def tail_above(sample: Sample, threshold: float) -> SeriesTail:
    """Fit the tail above a threshold (for rounded data an edge of the grid). Raises ValueError with too few
    excesses.
    """
    mask = sample.above(threshold) & np.isfinite(sample.value)
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
        threshold,
        sample.samples,
        data,
        result,
        sample.lost / sample.samples,
        transforms=transforms,
        used=used,
        clustering=max(clustering, 0.0),
        independent=sample.independent,
    )
