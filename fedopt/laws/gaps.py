"""Gaps between requests: one table of laws, each with what bounds, samplers and documents need.

With m nats an epoch, a law of gaps T of mean 1/λ has a rate γ with E e^{−γT} ≤ e^{−m}. e^{θA − γx}h(x) is
then a supermartingale backwards from an epoch, h(x) = e^m·E[e^{−γ·rest of the gap} | age x], h = 1 at epochs;
`penalty` is −log inf h, which Ville's inequality pays once because a path may cross between epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, special

__all__ = ["GAPS", "Gaps", "two_rates", "weibull"]


@dataclass(frozen=True)
class Gaps:
    """A row of the table; `cv` is the coefficient of variation, λ epochs per slot, m in nats.

    Attributes:
        rate: (m, λ, cv) → γ in nats per slot, the penalty, and log E e^{−γ·rest} of the gap around an
            instant, (1 − E e^{−γT})λ/γ; m of any shape.
        log_transform: (θ, λ, cv) → log E e^{−θT} (at least).
        sample: (rng, count, λ, cv) → gaps in slots.
        least, most: of the coefficient of variation.
    """

    rate: Callable[[np.ndarray, float, float], tuple[np.ndarray, np.ndarray, np.ndarray]]
    log_transform: Callable[[float, float, float], float]
    sample: Callable[[np.random.Generator, int, float, float], np.ndarray]
    least: float = 0.01
    most: float = 10.0


def _rest(m: np.ndarray, growth: np.ndarray, rate: float) -> np.ndarray:
    """log of (1 − e^{−m})λ/γ."""
    with np.errstate(all="ignore"):
        return np.nan_to_num(np.log(-np.expm1(-m) * rate / growth))


def _gamma_rate(m: np.ndarray, rate: float, cv: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """γ = kλ(e^{m/k} − 1), k = 1/cv²; h falls to e^{m(1 − 1/k)} where k < 1 and rises else."""
    k = cv**-2
    with np.errstate(over="ignore"):
        growth = k * rate * np.expm1(m / k)
    return growth, m * max(1.0 / k - 1.0, 0.0), _rest(m, growth, rate)


def two_rates(rate: float, cv: float) -> tuple[float, float, float]:
    """(p, λ₁, λ₂) of a hyperexponential law with balanced means, p/λ₁ = (1−p)/λ₂, λ₁ ≥ λ₂."""
    p = 0.5 * (1.0 + math.sqrt((cv**2 - 1.0) / (cv**2 + 1.0)))
    return p, 2.0 * p * rate, 2.0 * (1.0 - p) * rate


def _hyperexponential_rate(
    m: np.ndarray, rate: float, cv: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """γ solves γ² + γ(λ₁ + λ₂ − e^m(pλ₁ + (1−p)λ₂)) = (e^m − 1)λ₁λ₂; h falls to e^mλ₂/(λ₂ + γ)."""
    p, fast, slow = two_rates(rate, cv)
    with np.errstate(all="ignore"):
        surplus = np.expm1(m)
        middle = fast + slow - (surplus + 1.0) * (p * fast + (1.0 - p) * slow)
        root = np.sqrt(middle**2 + 4.0 * surplus * fast * slow)
        growth = np.where(middle > 0.0, 2.0 * surplus * fast * slow / (middle + root), 0.5 * (root - middle))
        penalty = np.log1p(growth / slow) - m
    growth = np.where(np.isfinite(growth), growth, np.inf)
    return growth, np.maximum(np.nan_to_num(penalty), 0.0), _rest(m, growth, rate)


@cache
def weibull(cv: float) -> tuple[float, float]:
    """(shape, scale) of a Weibull law of mean 1."""

    def variation(log_shape: float) -> float:
        one, two = special.gammaln(1.0 + np.array([1.0, 2.0]) / math.exp(log_shape))
        return float(np.expm1(two - 2.0 * one)) - cv**2

    shape = math.exp(optimize.brentq(variation, math.log(0.1), math.log(200.0), xtol=1e-13))
    return shape, math.exp(-special.gammaln(1.0 + 1.0 / shape))


@cache
def _weibull_cells(cv: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(lower edges, probabilities, means) of cells of a Weibull law of mean 1, its tail cut (shorter gaps are
    more work) where that costs a thousandth of the mean, or a millionth where it is light; the last cell is
    the point of the cut."""
    shape, scale = weibull(cv)

    def excess(log_z: float) -> float:  # E (T − c)^+ at (c/scale)^shape = z
        z = math.exp(log_z)
        return float(special.gammaincc(1.0 + 1.0 / shape, z) - scale * math.exp(log_z / shape - z))

    cut = optimize.brentq(lambda log_z: excess(log_z) - (1e-3 if cv > 1.0 else 1e-6), -20.0, math.log(700.0))
    inner = np.concatenate([[0.0], np.geomspace(1e-9, 1e-2, 200), np.linspace(1e-2, 1.0, 800)[1:]])
    z = inner * math.exp(cut)
    edges = scale * z ** (1.0 / shape)
    weights = -np.diff(np.exp(-z))
    sums = np.diff(special.gammainc(1.0 + 1.0 / shape, z))
    with np.errstate(all="ignore"):
        means = np.clip(np.where(weights > 1e-12, sums / weights, edges[:-1]), edges[:-1], edges[1:])
    return edges, np.append(weights, math.exp(-z[-1])), np.append(means, edges[-1])


def _log_above(growth: np.ndarray, cv: float) -> np.ndarray:
    """log E e^{−γT} of the cut Weibull law of mean 1 from above: on a cell e^{−γt} is below its chord."""
    edges, weights, means = _weibull_cells(cv)
    share = (means[:-1] - edges[:-1]) / np.diff(edges)
    decay = np.exp(-np.multiply.outer(growth, edges))
    inside = decay[..., :-1] * (1.0 - share) + decay[..., 1:] * share
    return np.log(inside @ weights[:-1] + decay[..., -1] * weights[-1])


@cache
def _weibull_table(cv: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """γ, the penalty and the rest of a gap at some m, gaps of mean 1; shape (points,) each, m first.

    For the penalty the moment over what lies behind a cell is at least that of the means of the cells there
    (Jensen), seen from the left edge of the cell: an age inside of it leaves less.
    """
    m = np.geomspace(1e-6, 30.0, 400)
    low, high = np.zeros(m.size), np.ones(m.size)
    for _ in range(60):
        short = _log_above(high, cv) > -m
        if not short.any():
            break
        low, high = np.where(short, high, low), np.where(short, 2.0 * high, high)
    for _ in range(45):
        middle = 0.5 * (low + high)
        enough = _log_above(middle, cv) <= -m
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    edges, weights, means = _weibull_cells(cv)
    after = np.cumsum(weights[::-1])[::-1]  # P(T ≥ edge)
    # least log of E[e^{−γ(T − a)} | T ≥ b] over cells [a, b), from the last one back; at age 0 of all of T
    behind, seen = np.zeros(m.size), np.full(m.size, np.inf)
    with np.errstate(divide="ignore"):
        for n in range(len(weights) - 1, -1, -1):
            behind = behind + weights[n] * np.exp(-high * (means[n] - edges[n]))
            if n > 0:
                behind = behind * np.exp(-high * (edges[n] - edges[n - 1]))
            seen = np.minimum(seen, np.log(behind / after[n]))
        penalty = np.maximum(-seen - m, 0.0)
        uncut = np.maximum(behind - weights[-1] * np.exp(-high * edges[-1]), 0.0)
        rest = np.log((1.0 - uncut) / high)
    found = np.isfinite(penalty) & (_log_above(high, cv) <= -m)
    return m, np.where(found, high, np.inf), penalty, rest


def _weibull_rate(m: np.ndarray, rate: float, cv: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Between points of the table: γ is convex in m; the penalty at a larger γ is no smaller but for what m
    itself says; the rest at a smaller γ is no smaller."""
    m = np.asarray(m, float)
    at, growth, penalty, rest = _weibull_table(cv)
    right = np.clip(np.searchsorted(at, m), 0, at.size - 1)
    left = np.maximum(right - 1, 0)
    below, low = np.where(right > 0, at[left], 0.0), np.where(right > 0, growth[left], 0.0)
    with np.errstate(invalid="ignore"):
        between = low + (m - below) / (at[right] - below) * (growth[right] - low)
        between = np.where((m > at[-1]) | np.isnan(between), np.inf, between)
    paid = penalty[right] + np.maximum(at[right] - m, 0.0)
    return rate * between, paid, np.where(right > 0, rest[left], 0.0)


def _weibull_sample(rng: np.random.Generator, count: int, rate: float, cv: float) -> np.ndarray:
    shape, scale = weibull(cv)
    return scale / rate * rng.weibull(shape, count)


def _hyperexponential_sample(rng: np.random.Generator, count: int, rate: float, cv: float) -> np.ndarray:
    p, fast, slow = two_rates(rate, cv)
    return rng.standard_exponential(count) / np.where(rng.random(count) < p, fast, slow)


def _hyperexponential_transform(theta: float, rate: float, cv: float) -> float:
    p, fast, slow = two_rates(rate, cv)
    return math.log(p * fast / (fast + theta) + (1.0 - p) * slow / (slow + theta))


GAPS: dict[str, Gaps] = {
    "gamma": Gaps(
        _gamma_rate,
        lambda theta, rate, cv: -math.log1p(theta * cv**2 / rate) / cv**2,
        lambda rng, count, rate, cv: rng.gamma(cv**-2, cv**2 / rate, count),
    ),
    "hyperexponential": Gaps(
        _hyperexponential_rate, _hyperexponential_transform, _hyperexponential_sample, least=1.0
    ),
    "weibull": Gaps(
        _weibull_rate,
        lambda theta, rate, cv: float(_log_above(np.array(theta / rate), cv)),
        _weibull_sample,
        most=5.0,
    ),
}
