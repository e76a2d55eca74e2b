"""The least rate of a tenant on a path in closed form, which gives synthetic instances their capacities.

This is the Ville form for equal rates, minimised over θ:
R = max(ρ + κ_Σ, [log(1/ε) + θ(σ + κ_Σ τ)] / [θ(τ − T_Σ)]). It is a valid guarantee, so what it reserves is
enough; the planner itself uses tighter forms. It covers the models without memory, which are the ones that
`generate` and `import` use.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .arrivals import ExponentialSize, ExponentialWork, Poisson, TokenBucket
from .documents import SLO
from .impairments import ExponentialImpairment, GammaImpairment, NoImpairment, PoissonImpairment

POINTS = 32
"""Values of θ that are tried at first, and again around the best of them."""


def log_moment(model: Any, theta: np.ndarray, slot: float) -> np.ndarray:
    """Log-moment of a slot's work at θ > 0 below the model's limit; shape of `theta`.

    Raises `TypeError` for a model with memory or a table.
    """
    match model:
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
    if of == "time":
        return np.zeros_like(theta)
    if isinstance(model, Poisson):
        if isinstance(model.size, ExponentialSize):
            return -np.log1p(-theta * model.size.exponential)
        return theta * model.size
    return -np.log1p(-theta * model.mean * slot)


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
    return np.asarray(np.maximum((load + taken) / theta, promised / (theta * spare)))
