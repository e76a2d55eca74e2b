"""Complete homogeneous symmetric polynomials and their geometric series, without cancellation.

With v_i(X) = h_X(p_1, …, p_i) the recursion h_X(p_1..p_i) = p_i h_{X−1}(p_1..p_i) + h_X(p_1..p_{i−1}) reads
v(X+1) = A v(X), A_ij = p_j for j ≤ i, v(0) = 1.  So h_X = (A^X 1)_L, and Σ_ℓ r^ℓ h_{n+ℓ} needs only powers
of A and one triangular solve.  This is Opitz' theorem for divided differences written in a basis in which
every entry is non-negative: nothing is ever subtracted, equal or nearly equal nodes included.  Everything
is scaled by the largest node and returned as a logarithm.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.kernels import formula

__all__ = ["apply_power", "log_geometric", "log_polynomial", "log_sum", "resolvent"]


@formula
def log_sum(a: float, b: float) -> float:
    """log(e^a + e^b), with −inf for an empty term."""
    if a < b:
        a, b = b, a
    if b == -math.inf or a == math.inf:
        return a
    return a + math.log1p(math.exp(b - a))


@formula
def apply_power(node: np.ndarray, power: int, vector: np.ndarray) -> None:
    """vector ← A^power · vector in place, for the lower-triangular A with A_ij = node_j, j ≤ i."""
    size = node.size
    if power <= 4 * size + 8:  # a short walk is cheaper than squaring
        for _ in range(power):
            total = 0.0
            for i in range(size):
                total += node[i] * vector[i]
                vector[i] = total
        return
    matrix = np.zeros((size, size))
    for i in range(size):
        for j in range(i + 1):
            matrix[i, j] = node[j]
    while True:
        if power & 1:
            for i in range(size - 1, -1, -1):
                total = 0.0
                for j in range(i + 1):
                    total += matrix[i, j] * vector[j]
                vector[i] = total
        power >>= 1
        if power == 0:
            return
        # In place: row i of the square needs rows ≤ i only, and entry (i, j) needs entries (i, k ≥ j) only.
        for i in range(size - 1, -1, -1):
            for j in range(i + 1):
                total = 0.0
                for k in range(j, i + 1):
                    total += matrix[i, k] * matrix[k, j]
                matrix[i, j] = total


@formula
def resolvent(log_node: np.ndarray, log_ratio: float, solution: np.ndarray) -> bool:
    """solution ← (I − rA)^{−1} 1 with r = e^log_ratio, A of the given nodes; False where r·max(p) ≥ 1
    (divergent)."""
    total = 1.0
    for i in range(log_node.size):
        exponent = log_ratio + log_node[i]
        if not exponent < 0.0:
            return False
        solution[i] = total / -math.expm1(exponent)
        total += math.exp(exponent) * solution[i]
    return True


@formula
def log_polynomial(log_node: np.ndarray, degree: int) -> float:
    """log h_degree(p_1..p_L) for p = e^log_node, shape (L,)."""
    top = log_node.max()
    vector = np.ones(log_node.size)
    apply_power(np.exp(log_node - top), degree, vector)
    return degree * top + math.log(vector[-1])


@formula
def log_geometric(log_node: np.ndarray, log_ratio: float, offset: int, drop: int) -> float:
    """log Σ_{ℓ≥1} r^ℓ h_{ℓ+offset−drop}(p_1..p_L), p = e^log_node, r = e^log_ratio; +inf where the sum
    diverges.

    drop = 0 is the bound itself; 1 and 2 give its first and second derivatives, with the nodes concerned
    repeated (h of a negative degree is 0).
    """
    size = log_node.size
    vector = np.empty(size)
    if not resolvent(log_node, log_ratio, vector):
        return math.inf
    top = log_node.max()
    log_scale = 0.0
    if drop == 0:  # Σ_{ℓ≥1} (rA)^ℓ 1 = (I − rA)^{−1} 1 − 1, summed instead of subtracted
        log_scale = log_ratio + top
        total = 0.0
        for i in range(size):
            total += math.exp(log_node[i] - top) * vector[i]
            vector[i] = total
    elif drop == 1 or offset > 0:
        log_scale = log_ratio
    else:
        log_scale = 2.0 * log_ratio
    power = offset if drop < 2 else max(offset - 1, 0)
    apply_power(np.exp(log_node - top), power, vector)
    return log_scale + power * top + math.log(vector[-1])
