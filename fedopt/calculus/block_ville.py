"""The block-ville form: the first domain by Ville's inequality, the others by blocks counted back from the
deadline.

Needs impairments that grow with the interval and independent increments.  Scaled by θ as in `fine`.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.series import log_geometric, log_sum
from fedopt.kernels import formula

__all__ = ["block_ville"]


@formula
def block_ville(
    arrival: float, impair: np.ndarray, reserve: float, lag: float, window: int, size: int
) -> float:
    """Log-bound without lb, for L ≥ 2 domains: gΣ_{d≥2}k_d + r·T + log Σ_{j≥0} h_j(q_2..q_L)
    exp(k_1[n−jg]^+ + λ[jg−n]^+ − r max(n, jg)),  q_d = e^{g k_d}.

    impair = θκ, shape (L,); reserve = θ min R, needed: r ≥ λ + k_1 and r > λ + max k; lag = θ min R·ΣT.
    """
    if arrival + impair[0] > reserve:
        return math.inf
    others = impair[1:]
    node = size * others
    blocks = window // size
    tail = log_geometric(node, (arrival - reserve) * size, blocks, 0)
    if tail == math.inf:
        return tail
    tail += (arrival - reserve) * size * blocks - arrival * window
    # Σ_{j ≤ n/g} e^{−k_1 g j} h_j(q) by Horner's rule; scaled so that no partial sum exceeds a polynomial.
    shifted = node - size * impair[0]
    top = max(shifted.max(), 0.0)
    factor = np.exp(shifted - top)
    vector = np.ones(node.size)
    fresh = 1.0
    shrink = math.exp(-top)
    for _ in range(blocks):
        fresh *= shrink
        total = 0.0
        for i in range(node.size):
            total += factor[i] * vector[i]
            vector[i] = fresh + total
    head = blocks * top + math.log(vector[-1]) + (impair[0] - reserve) * window
    return size * others.sum() + lag + log_sum(head, tail)
