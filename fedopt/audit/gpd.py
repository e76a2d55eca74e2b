"""The generalised Pareto tail: likelihood, fit and scores, exact or interval-censored, smooth through ξ = 0.

With ψ = ξ/β the survival function of an excess y over the threshold is exp(−v/β), v(y; ψ) = log(1 + ψy)/ψ: an
exponential law of mean β in the transformed excess v, with v → y as ψ → 0. All formulas below are written in
(β, ψ), where nothing is singular, so that ξ near 0 and ξ below −1/2 need no special treatment. An
observation that was rounded is known only to lie in a cell [left, right); its likelihood is exp(−v(left)/β)
− exp(−v(right)/β).
Source: Coles, An Introduction to Statistical Modeling of Extreme Values (2001), chapter 4; Grimshaw (1993).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fedopt.kernels import kernel

__all__ = ["Excesses", "Fit", "excesses", "fit", "scores"]

SMALLEST_SHAPE = -0.99
"""Below −1 the likelihood is unbounded at the largest observation; the fit stops just above."""

EXACT_POINTS = 200
BINNED_POINTS = 400


@dataclass(frozen=True, eq=False)
class Excesses:
    """Excesses over a threshold as weighted observations.

    left, right: shape (m,), unit of the data; right = left marks an exact observation, otherwise the value
    lies in [left, right). weight: shape (m,), how many observations each entry stands for. total: their
    number.
    """

    left: np.ndarray
    right: np.ndarray
    weight: np.ndarray
    total: float

    @property
    def largest(self) -> float:
        """The largest excess that is certain to have been reached."""
        return float(np.max(np.where(self.right > self.left, (self.left + self.right) / 2, self.left)))

    @property
    def middle(self) -> float:
        """The weighted median, kept off zero: the scale from which every search over ψ sets out."""
        index = int(np.searchsorted(np.cumsum(self.weight), self.total / 2))
        return max(float((self.left[index] + self.right[index]) / 2), 1e-9 * self.largest)


@dataclass(frozen=True)
class Fit:
    """A fitted tail: scale β (unit of the data), ψ = ξ/β (1/unit), shape ξ and the negative log-likelihood.

    information: shape (2, 2), observed information of (log β, ψ).
    """

    scale: float
    psi: float
    negative_log_likelihood: float
    information: np.ndarray

    @property
    def shape(self) -> float:
        """The shape ξ."""
        return self.psi * self.scale

    def standard_errors(self) -> tuple[float, float]:
        """Standard errors of (β, ξ) for independent observations; NaN where the information is not
        positive.
        """
        jacobian = np.array([[self.scale, 0.0], [self.shape, self.scale]])
        try:
            covariance = jacobian @ np.linalg.inv(self.information) @ jacobian.T
        except np.linalg.LinAlgError:
            return math.nan, math.nan
        with np.errstate(invalid="ignore"):
            deviations = np.sqrt(np.diag(covariance))
        return float(deviations[0]), float(deviations[1])

    def survival(self, excess: np.ndarray | float) -> np.ndarray:
        """P(Y > excess) for excesses ≥ 0; shape of the argument."""
        inside = np.maximum(1 + self.psi * np.asarray(excess, dtype=float), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            if abs(self.psi) * self.scale < 1e-12:
                return np.exp(-np.asarray(excess, dtype=float) / self.scale)
            return np.exp(-np.log(inside) / self.shape) * (inside > 0)


def excesses(values: np.ndarray, width: float = 0.0) -> Excesses:
    """Weighted excesses from raw ones (shape (k,), all > 0, or ≥ 0 when they are cells).

    width > 0: the values are the lower edges of rounding cells of that width; equal ones are joined. width =
    0: exact values; the largest 200 stay as they are, the rest is joined into 400 groups of equal count,
    each at its mean. The log-likelihood is smooth in y, so that this changes a fit by less than a hundredth
    of its standard error and makes the cost independent of the number of samples.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    if width > 0:
        cells = np.rint(ordered / width).astype(np.int64)
        unique, count = np.unique(cells, return_counts=True)
        left = unique * width
        return Excesses(left, left + width, count.astype(float), float(ordered.size))
    if ordered.size <= EXACT_POINTS + 2 * BINNED_POINTS:
        return Excesses(ordered, ordered, np.ones(ordered.size), float(ordered.size))
    bulk, top = ordered[:-EXACT_POINTS], ordered[-EXACT_POINTS:]
    edges = np.linspace(0, bulk.size, BINNED_POINTS + 1).astype(np.int64)
    count = np.diff(edges).astype(float)
    points = np.concatenate([np.add.reduceat(bulk, edges[:-1]) / count, top])
    return Excesses(points, points, np.concatenate([count, np.ones(EXACT_POINTS)]), float(ordered.size))


@kernel
def transformed(excess: float, psi: float) -> float:
    """v = log(1 + ψy)/ψ, continuous at ψ = 0; +inf beyond the end point."""
    x = psi * excess
    if x <= -1.0:
        return math.inf
    if abs(x) < 1e-5:
        return excess * (1.0 - x * (0.5 - x / 3.0))
    return math.log1p(x) / psi


@kernel
def transformed_slope(excess: float, psi: float) -> float:
    """∂v/∂ψ, continuous at ψ = 0."""
    x = psi * excess
    if x <= -1.0:
        return math.inf
    if abs(x) < 1e-4:
        return excess * excess * (-0.5 + x * (2.0 / 3.0 - 0.75 * x))
    return (excess / (1.0 + x) - math.log1p(x) / psi) / psi


@kernel
def moments(left: np.ndarray, right: np.ndarray, weight: np.ndarray, psi: float, v: np.ndarray) -> float:
    """Fill v (shape (m, 2)) with the transformed edges; return Σ weight·v of the exact observations."""
    total = 0.0
    for i in range(left.size):
        v[i, 0] = transformed(left[i], psi)
        if right[i] > left[i]:
            v[i, 1] = transformed(right[i], psi)
        else:
            v[i, 1] = -1.0
            total += weight[i] * v[i, 0]
    return total


@kernel
def rate_terms(
    weight: np.ndarray, v: np.ndarray, exact: float, total: float, rate: float
) -> tuple[float, float, float]:
    """Negative log-likelihood in the rate r = 1/β at fixed ψ (without ψΣv), and its two derivatives in r.

    exact: Σ weight·v of exact observations; total: Σ weight. Exact observations need no loop.
    """
    if v[0, 1] < 0.0:
        return exact * rate - total * math.log(rate), exact - total / rate, total / (rate * rate)
    value = 0.0
    first = 0.0
    second = 0.0
    for i in range(weight.size):
        value += weight[i] * rate * v[i, 0]
        first += weight[i] * v[i, 0]
        gap = v[i, 1] - v[i, 0]
        x = rate * gap
        if x < 700.0:
            rest = -math.expm1(-x)
            ratio = (1.0 - rest) / rest
            value -= weight[i] * math.log(rest)
            first -= weight[i] * gap * ratio
            second += weight[i] * gap * gap * ratio * (1.0 + ratio)
    return value, first, second


@kernel
def best_rate(weight: np.ndarray, v: np.ndarray, exact: float, total: float) -> float:
    """The rate 1/β that maximises the likelihood at fixed ψ: a concave problem in one variable, by guarded
    Newton.
    """
    middle = 0.0
    for i in range(weight.size):
        centre = 0.5 * (v[i, 0] + v[i, 1])
        middle += weight[i] * (centre if centre < math.inf else v[i, 0])
    rate = total / middle
    for _ in range(40):
        _, first, second = rate_terms(weight, v, exact, total, rate)
        step = first / second if second > 0.0 else 0.0
        new = rate - step
        if new <= 0.1 * rate:
            new = 0.1 * rate
        elif new > 10.0 * rate:
            new = 10.0 * rate
        done = abs(new - rate) <= 1e-12 * rate
        rate = new
        if done:
            break
    return rate


@kernel
def free_value(
    left: np.ndarray, right: np.ndarray, weight: np.ndarray, psi: float, v: np.ndarray
) -> tuple[float, float]:
    """Least negative log-likelihood at this ψ over β, and the β that gives it; +inf outside ξ ≥ −0.99."""
    exact = moments(left, right, weight, psi, v)
    total = weight.sum()
    if not exact < math.inf:
        return math.inf, 0.0
    if v[-1, 0] == math.inf:
        return math.inf, 0.0
    rate = total / exact if v[0, 1] < 0.0 else best_rate(weight, v, exact, total)
    if psi / rate < SMALLEST_SHAPE:
        rate = psi / SMALLEST_SHAPE
    value, _, _ = rate_terms(weight, v, exact, total, rate)
    return value + psi * exact, 1.0 / rate


@kernel
def search_range(largest: float, middle: float) -> tuple[float, float]:
    """Range of t = log(1 + ψ·largest) to search: from next to the end point to very heavy tails."""
    return -10.0, max(6.0, math.log1p(20.0 * largest / middle))


@kernel
def best_psi(
    left: np.ndarray, right: np.ndarray, weight: np.ndarray, largest: float, middle: float
) -> tuple[float, float, float]:
    """(ψ, β, value) of the maximum of the likelihood: a scan over t = log(1+ψ·largest), then golden
    section.
    """
    v = np.empty((left.size, 2))
    low, high = search_range(largest, middle)
    steps = 48
    width = (high - low) / steps
    best = math.inf
    centre = 0.0
    for k in range(steps + 1):
        t = low + k * width
        value, _ = free_value(left, right, weight, math.expm1(t) / largest, v)
        if value < best:
            best = value
            centre = t
    golden = 0.6180339887498949
    a, b = centre - width, centre + width
    c = b - golden * (b - a)
    d = a + golden * (b - a)
    fc, _ = free_value(left, right, weight, math.expm1(c) / largest, v)
    fd, _ = free_value(left, right, weight, math.expm1(d) / largest, v)
    for _ in range(36):
        if fc < fd:
            b, d, fd = d, c, fc
            c = b - golden * (b - a)
            fc, _ = free_value(left, right, weight, math.expm1(c) / largest, v)
        else:
            a, c, fc = c, d, fd
            d = a + golden * (b - a)
            fd, _ = free_value(left, right, weight, math.expm1(d) / largest, v)
    psi = math.expm1(0.5 * (a + b)) / largest
    value, scale = free_value(left, right, weight, psi, v)
    return psi, scale, value


@kernel
def score_rows(left: np.ndarray, right: np.ndarray, scale: float, psi: float) -> np.ndarray:
    """∂ log-likelihood/∂(log β, ψ) of each observation; shape (m, 2)."""
    rows = np.empty((left.size, 2))
    for i in range(left.size):
        va = transformed(left[i], psi)
        da = transformed_slope(left[i], psi)
        if right[i] > left[i]:
            vb = transformed(right[i], psi)
            x = (vb - va) / scale
            ratio = math.exp(-x) / -math.expm1(-x) if x < 700.0 else 0.0
            rows[i, 0] = va / scale
            rows[i, 1] = -da / scale
            if ratio > 0.0:
                db = transformed_slope(right[i], psi)
                rows[i, 0] -= ratio * (vb - va) / scale
                rows[i, 1] += ratio * (db - da) / scale
        else:
            rows[i, 0] = va / scale - 1.0
            rows[i, 1] = -da * (1.0 / scale + psi) - va
    return rows


def scores(data: Excesses, result: Fit) -> np.ndarray:
    """Score (log β, ψ) of each entry of `data` at the fit; shape (m, 2)."""
    return score_rows(data.left, data.right, result.scale, result.psi)


def fit(data: Excesses) -> Fit:
    """Maximum likelihood of the generalised Pareto law. Raises ValueError with fewer than 3 distinct
    observations.
    """
    if data.left.size < 3 or not data.largest > 0:
        raise ValueError("a tail needs at least 3 distinct excesses to be fitted")
    psi, scale, value = best_psi(data.left, data.right, data.weight, data.largest, data.middle)
    return Fit(scale, psi, value, _information(data, scale, psi))


def _information(data: Excesses, scale: float, psi: float) -> np.ndarray:
    """Observed information of (log β, ψ) by central differences of the score."""

    def total(log_scale: float, at: float) -> np.ndarray:
        rows = score_rows(data.left, data.right, math.exp(log_scale), at)
        return data.weight @ rows

    steps = (1e-4, 1e-4 * min(1.0 / scale, psi + 1.0 / data.largest if psi < 0 else 1.0 / scale))
    columns = []
    for axis, step in enumerate(steps):
        up, down = [math.log(scale), psi], [math.log(scale), psi]
        up[axis] += step
        down[axis] -= step
        columns.append(-(total(*up) - total(*down)) / (2 * step))
    matrix = np.array(columns)
    return (matrix + matrix.T) / 2
