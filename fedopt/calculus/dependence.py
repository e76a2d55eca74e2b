"""Hölder's inequality for domains whose impairments may be dependent: p_iθ in factor i, Σ 1/p_i = 1 in each
group.

κ_i(θ) becomes κ_i(p_iθ).  In u = 1/p the charge uΛ(θ/u) is the perspective of a convex function, so the
log-bound of a convex form is jointly convex in (θ, u): the exponents found by a local search are the best.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

from fedopt.calculus.search import best_bound

if TYPE_CHECKING:
    from fedopt.calculus.minplus import PackedPath

__all__ = ["best_exponents"]


def best_exponents(packed: PackedPath, rates: np.ndarray, mask: int) -> np.ndarray:
    """Exponents p, shape (L,), that make the least log-bound at the given reservations smallest (never
    worse than equal ones)."""
    equal = packed.exponent.copy()
    groups = [list(group) for group in packed.dependent]
    free = sum(len(group) - 1 for group in groups)

    def exponents(point: np.ndarray) -> np.ndarray:
        values, position = equal.copy(), 0
        for group in groups:
            weights = np.concatenate([point[position : position + len(group) - 1], [0.0]])
            position += len(group) - 1
            share = np.exp(weights - weights.max())
            values[group] = share.sum() / np.maximum(share, 1e-12 * share.sum())
        return values

    models, arrival, impair, _, lag, window, biased, log_epsilon = packed.arguments()

    def bound(point: np.ndarray) -> float:
        path = (models, arrival, impair, exponents(point), lag, window, biased, log_epsilon)
        value = best_bound(mask, path, rates)[0]
        return value if math.isfinite(value) else 1e6

    start = np.zeros(free)
    found = minimize(
        bound, start, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-8, "maxfev": 120 * free}
    )
    return exponents(found.x) if found.fun < bound(start) else equal
