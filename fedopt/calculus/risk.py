"""Who causes the tail: the share of each domain in a path's critical window.

The Gibbs weights of the fine form's sum say how long the critical window spends in each domain; these mean
times are also the derivatives of the log-bound in the reservations, so a share is the domain's part in the
marginal tail risk.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.fine import fine_derivatives
from fedopt.calculus.forms import bit
from fedopt.calculus.minplus import PackedPath
from fedopt.calculus.path import Path
from fedopt.calculus.search import best_bound
from fedopt.laws import log_rate

__all__ = ["mean_times", "risk_shares"]


def mean_times(path: Path, rates: np.ndarray, theta: float) -> np.ndarray:
    """Mean slots ⟨x_i⟩ that the critical window spends in each domain at θ, shape (L,); nan where fine
    proves nothing."""
    packed = PackedPath(path)
    models, _, impair, exponent, lag, window, _, _ = packed.arguments()
    hops = len(path)
    kappa = np.array(
        [log_rate(models, m, theta * p) / p for m, p in zip(impair, exponent, strict=True)], dtype=float
    )
    gradient, hessian = np.empty(hops), np.empty((hops, hops))
    reserve = theta * np.asarray(rates, float)
    value = fine_derivatives(
        log_rate(models, 0, theta), kappa, reserve, lag, max(window, 0), gradient, hessian
    )
    return lag - gradient if math.isfinite(value) else np.full(hops, math.nan)


def risk_shares(path: Path, rates: np.ndarray) -> list[float]:
    """Shares of the domains in the path's tail risk, adding up to 1: mean times at the fine form's best θ."""
    packed = PackedPath(path)
    rates = np.asarray(rates, float)
    _, form, theta, _, _ = best_bound(bit("fine"), packed.arguments(), rates)
    times = mean_times(path, rates, theta) if form >= 0 else np.full(len(path), math.nan)
    if not np.isfinite(times).all() or times.sum() <= 0.0:
        return [1.0 / len(path)] * len(path)
    return [float(share) for share in times / times.sum()]
