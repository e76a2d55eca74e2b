"""Exact tail quantiles of the M/M/1 tandem: sojourns are sums of exponentials (Burke, Reich)."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm
from scipy.optimize import brentq


def exact_tail(delay: float, load: float, rates: tuple[float, ...]) -> float:
    """P(sojourn > ``delay``) of a Poisson stream of rate ``load`` through exponential servers, without
    shifts.

    The sojourn is a sum of independent exponentials of rates μ_d − λ; its tail is the phase-type expression
    (e^{Tt} 1)_1, which stays exact where rates agree. Raises ValueError where a server is overloaded.
    """
    decays = np.array(rates, dtype=float) - load
    if not (decays > 0).all():
        raise ValueError(f"load {load:g} is not below every service rate")
    generator = np.diag(-decays) + np.diag(decays[:-1], 1)
    return float(expm(generator * delay)[0].sum())


def exact_quantile(load: float, rates: tuple[float, ...], probability: float = 0.999) -> float:
    """The delay exceeded with probability 1 − ``probability``, without shifts."""
    slowest = min(rates) - load
    upper = 50.0 * len(rates) / slowest
    return float(
        brentq(lambda delay: exact_tail(delay, load, rates) - (1 - probability), 0.0, upper, xtol=1e-10)
    )
