"""The fine form: a union over all splits of the window, with no assumption beyond independence.

log-bound = lb + Σ r_iT_i + log Σ_{ℓ≥1} e^{λℓ} h_{ℓ+n}(p),  p_i = e^{−(r_i−k_i)}, with everything scaled by
θ: λ = θρ, k_i = θκ_i, r_i = θR_i, lb = θ(σ+Ση).  Jointly convex in (θ, r).
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.series import log_geometric
from fedopt.kernels import formula

__all__ = ["fine", "fine_derivatives"]


@formula
def fine(arrival: float, impair: np.ndarray, reserve: np.ndarray, lag: float, window: int) -> float:
    """Log-bound without its burst term lb.

    arrival = θρ; impair, reserve = θκ, θR, shape (L,); lag = Σ θR_iT_i over rate-latency domains; window in
    slots. +inf where a domain's effective rate does not exceed the arrivals.
    """
    return lag + log_geometric(impair - reserve, arrival, window, 0)


@formula
def fine_derivatives(
    arrival: float,
    impair: np.ndarray,
    reserve: np.ndarray,
    latency: np.ndarray,
    window: int,
    gradient: np.ndarray,
    hessian: np.ndarray,
) -> float:
    """The fine form with its gradient (L,) and Hessian (L, L) in the scaled reservations r = θR, written in
    place.

    −gradient_i + T_i is the mean time ⟨x_i⟩ that the critical window spends in domain i under the Gibbs
    weights of the sum; the Hessian is the covariance of the x_i.  Repeated nodes of the divided difference
    give both.
    """
    size = reserve.size
    node = impair - reserve
    lag = 0.0
    for i in range(size):
        lag += reserve[i] * latency[i]
    value = log_geometric(node, arrival, window, 0)
    if value == math.inf:
        return value
    once = np.empty(size + 1)
    twice = np.empty(size + 2)
    once[:size] = node
    twice[:size] = node
    mean = np.empty(size)
    for i in range(size):
        once[size] = node[i]
        mean[i] = math.exp(node[i] + log_geometric(once, arrival, window, 1) - value)
        gradient[i] = latency[i] - mean[i]
    for i in range(size):
        twice[size] = node[i]
        for j in range(i + 1):
            twice[size + 1] = node[j]
            pair = math.exp(node[i] + node[j] + log_geometric(twice, arrival, window, 2) - value)
            # p_i p_j ∂_i∂_j h; on the diagonal the node repeats twice, 2 h, and ∂²/∂(log p)² adds the mean.
            second = 2.0 * pair + mean[i] if i == j else pair
            hessian[i, j] = second - mean[i] * mean[j]
            hessian[j, i] = hessian[i, j]
    return value + lag
