"""Profile likelihood of a quantile and of an exceedance probability, the rate of exceeding the threshold
included.

The model of a sample of n values is binomial above the threshold q (probability ζ) and generalised Pareto
beyond it. A quantile Q_p = q + h fixes v(h; ψ)/β = log(ζ/(1−p)); the profile maximises over the two
parameters left, (ψ, ζ). Fixing h and letting p run gives the profile of the probability P(X > q + h)
instead: one function serves both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedopt.audit.gpd import Excesses, Fit, moments, rate_terms, search_range, transformed
from fedopt.kernels import kernel

__all__ = ["Tail", "deviance", "interval_of_probability", "interval_of_quantile", "tail_quantile"]


@dataclass(frozen=True, eq=False)
class Tail:
    """A fitted tail of a sample: threshold q, n samples, excesses and their fit. ζ = excesses.total /
    samples.
    """

    threshold: float
    samples: int
    excesses: Excesses
    fit: Fit

    @property
    def rate(self) -> float:
        """ζ, the share of the samples above the threshold."""
        return self.excesses.total / self.samples

    def quantile(self, probability: float) -> float:
        """Q_p = q + β/ξ[((1−p)/ζ)^{−ξ} − 1]; needs 1 − p ≤ ζ."""
        return tail_quantile(self.threshold, self.fit, math.log(self.rate / (1 - probability)))

    def exceedance(self, level: float) -> float:
        """P(X > level) for a level at or above the threshold."""
        return self.rate * float(self.fit.survival(level - self.threshold))


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
    data, zeta = tail.excesses, tail.rate
    free = tail.fit.negative_log_likelihood - data.total * math.log(zeta)
    if zeta < 1:
        free -= (tail.samples - data.total) * math.log1p(-zeta)
    middle = float(np.average((data.left + data.right) / 2, weights=data.weight))
    held = _profile(
        data.left,
        data.right,
        data.weight,
        data.total,
        float(tail.samples),
        level - tail.threshold,
        math.log(tail_probability),
        data.largest,
        middle,
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
    excess = estimate - tail.threshold
    reach = 1e4 * max(tail.excesses.largest, excess)

    def beyond(level: float) -> float:
        return deviance(tail, level, 1 - probability) - critical

    low = _cross(beyond, estimate, -max(error, 1e-6 * excess), tail.threshold + 1e-6 * max(excess, 1e-300))
    high = _cross(
        beyond, estimate, max(error, 1e-6 * max(excess, tail.excesses.largest)), tail.threshold + reach
    )
    return (tail.threshold if low is None else low), (math.inf if high is None else high)


def interval_of_probability(tail: Tail, level: float, critical: float) -> tuple[float, float]:
    """All probabilities π with deviance(level, π) ≤ critical, for a level above the threshold.

    The lower end may be 0: the data do not exclude that the level is out of reach.
    """
    zeta = tail.rate
    estimate = min(max(tail.exceedance(level), 1e-300), 0.999 * zeta)
    centre = math.log(max(estimate, 1e-3 / tail.samples))

    def beyond(log_tail: float) -> float:
        return deviance(tail, level, math.exp(log_tail)) - critical

    low = (
        _cross(beyond, centre, -0.5, math.log(1e-12 / tail.samples))
        if estimate > 1e-3 / tail.samples
        else None
    )
    high = _cross(beyond, centre, 0.5, math.log(min(0.999, zeta * 4)))
    return (0.0 if low is None else math.exp(low)), (min(0.999, zeta * 4) if high is None else math.exp(high))


def _cross(beyond: Callable[[float], float], start: float, step: float, limit: float) -> float | None:
    """The first sign change of `beyond` from `start` in the direction of `step`, to 1e-4 of the distance
    walked.
    """
    inside, outside = start, start + step
    sign = math.copysign(1.0, step)
    for _ in range(80):
        if sign * (limit - outside) <= 0:
            outside = limit
        if beyond(outside) > 0:
            break
        if outside == limit:
            return None
        inside, outside = outside, outside + 1.7 * (outside - start)
    else:
        return None
    tolerance = 1e-4 * abs(outside - start)
    value_in, value_out = beyond(inside), beyond(outside)
    for _ in range(60):  # Illinois regula falsi
        if abs(outside - inside) <= tolerance:
            break
        if math.isfinite(value_out) and value_out > value_in:
            guess = inside - value_in * (outside - inside) / (value_out - value_in)
            guess = min(max(guess, min(inside, outside)), max(inside, outside))
            if abs(guess - inside) < 0.02 * abs(outside - inside):
                guess = inside + 0.1 * (outside - inside)
        else:
            guess = 0.5 * (inside + outside)
        value = beyond(guess)
        if value > 0:
            outside, value_out = guess, value
            value_in *= 0.7
        else:
            inside, value_in = guess, value
            value_out *= 0.7
    return 0.5 * (inside + outside)
