"""The least rate of a tenant on a path in closed form, which gives synthetic instances their capacities.

This is the Ville form for equal rates, minimised over θ:
R = max(ρ + κ_Σ, [log(1/ε) + θ(σ + κ_Σ τ)] / [θ(τ − T_Σ)]). It is a valid guarantee, so what it reserves is
enough; the planner itself uses tighter forms. It covers the models without memory, which are the ones that
`generate` and `import` use, and envelopes: without independent increments the monotone form takes the place
of Ville's, which asks for a margin Δ = θ(R − ρ − κ_Σ) > 0 and adds −log(e^Δ − 1) to what is promised.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .arrivals import EnvelopeArrivals, ExponentialSize, ExponentialWork, Poisson, Size, TokenBucket
from .documents import SLO
from .impairments import ExponentialImpairment, GammaImpairment, NoImpairment, PoissonImpairment

POINTS = 32
"""Values of θ that are tried at first, and again around the best of them."""

MARGINS = np.geomspace(math.log(2) / 2**20, math.log(2), 41)
"""Margins Δ that are tried; where a rate is bounded by stability, the least of them costs nothing."""


def log_moment(model: Any, theta: np.ndarray, slot: float) -> np.ndarray:
    """Log-moment of a slot's work (for an envelope its rate, θρ) at θ > 0 below the model's limit; shape of
    `theta`.

    Raises `TypeError` for another model with memory, and for a table of impairments.
    """
    match model:
        case EnvelopeArrivals():
            return _line(model, model.rho, theta) * slot
        case NoImpairment():
            return np.zeros_like(theta)
        case TokenBucket():
            return theta * model.rate * slot
        case ExponentialWork() | ExponentialImpairment():
            return -np.log1p(-theta * model.mean * slot)
        case GammaImpairment():
            return -model.shape * slot * np.log1p(-theta * model.scale)
        case Poisson() | PoissonImpairment():
            if isinstance(model.size, ExponentialSize):
                x = theta * model.size.exponential
                return model.rate * slot * x / (1 - x)
            return model.rate * slot * np.expm1(theta * model.size)
    raise TypeError(f"no closed form for the model {type(model).__name__}")


def _burst(model: Any, theta: np.ndarray, slot: float, of: str) -> np.ndarray:
    """θσ with the correction for promises about requests (a request finds its own work in the queue)."""
    if isinstance(model, TokenBucket):
        return theta * model.burst
    burst = _line(model, model.sigma, theta) if isinstance(model, EnvelopeArrivals) else np.zeros_like(theta)
    if of == "time":
        return burst
    if isinstance(model, Poisson):
        return _own_work(model.size, theta)
    if isinstance(model, EnvelopeArrivals):
        return burst + (0.0 if model.request_size is None else _own_work(model.request_size, theta))
    return -np.log1p(-theta * model.mean * slot)


def _own_work(size: Size, theta: np.ndarray) -> np.ndarray:
    """Log-moment of the work of one request; +inf where it has none."""
    if isinstance(size, ExponentialSize):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(theta * size.exponential < 1, -np.log1p(-theta * size.exponential), np.inf)
    return theta * size


def _line(model: EnvelopeArrivals, column: Sequence[float], theta: np.ndarray) -> np.ndarray:
    """θ times a column of an envelope, linear between its points and down to 0."""
    grid = np.array([0.0, *model.theta])
    return np.asarray(np.interp(theta, grid, grid * np.array([0.0, *column])))


def tilts(models: Iterable[Any], slot: float) -> np.ndarray:
    """Values of θ (1/work) below the limits of all `models`, shape (POINTS,)."""
    limit = min(min(model.theta_limit(slot) for model in models), 20.0)
    return np.asarray(limit * np.geomspace(1e-3, 0.995, POINTS))


def ville_rate(
    arrivals: Any, impairments: Sequence[Any], slo: SLO, slot: float, latency: float, delay: float
) -> float:
    """The rate (work per unit of time) that keeps the promise in every domain of a path; inf where none does.

    `latency` is the sum of the rate-latency terms of the path, `delay` that of its pure and link delays and
    `slot` the length of a slot, all in units of time.
    """
    window = math.floor((slo.deadline - delay) / slot + 1e-9)
    spare = window - latency / slot
    if spare <= 0 or window < 1:
        return math.inf
    theta = tilts([arrivals, *impairments], slot)
    rates = np.empty(0)
    for _ in range(2):
        rates = _rates(arrivals, impairments, slo, slot, theta, window, spare)
        best = int(np.argmin(rates))
        theta = np.linspace(theta[max(best - 1, 0)], theta[min(best + 1, len(theta) - 1)], POINTS)
    return float(np.min(rates)) / slot


def _rates(
    arrivals: Any,
    impairments: Sequence[Any],
    slo: SLO,
    slot: float,
    theta: np.ndarray,
    window: int,
    spare: float,
) -> np.ndarray:
    """The least work per slot at each θ; shape of `theta`."""
    load = log_moment(arrivals, theta, slot)
    taken = sum((log_moment(model, theta, slot) for model in impairments), np.zeros_like(theta))
    promised = -math.log(slo.epsilon) + _burst(arrivals, theta, slot, slo.of) + taken * window
    if isinstance(arrivals, EnvelopeArrivals) and not arrivals.independent_increments:
        margins = MARGINS[:, None]
        stable = (load + taken + margins) / theta
        kept = (promised - np.log(np.expm1(margins))) / (theta * spare)
        return np.asarray(np.maximum(stable, kept).min(axis=0))
    return np.asarray(np.maximum((load + taken) / theta, promised / (theta * spare)))
