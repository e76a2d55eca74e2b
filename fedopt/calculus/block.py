"""The block form: splits fall on blocks of g slots, each domain is charged its blocks rounded outward.

Needs impairments that grow with the interval.  g = 1 is close to the fine form, a large g to the monotone
one. Different rates: R_i = R_min + δ_i keeps e^{−δ_i g(y_i−1)} for the y_i ≥ 1 blocks of domain i, so the
node becomes q_i = e^{g(k_i − (r_i − r_min))}, but a split falls inside a block: with blocks that begin with
the window and f_i ∈ [0, g−1] slots of split i inside its own, x_i = g(y_i−1) + f_i − f_{i−1}, so Σδ_i x_i may
fall short of Σδ_i g(y_i−1) by (g−1)Σ(δ_i − δ_{i−1})^+; with blocks that end with it, by (g−1)Σ(δ_i −
δ_{i+1})^+.  The smaller of the two is paid; it is 0 where rates only rise or only fall, and for g = 1.
A rate-latency T_i costs e^{r_iT_i} as in the fine form.  Scaled by θ as there.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.series import apply_power, resolvent
from fedopt.kernels import formula

__all__ = ["block"]


@formula
def block(
    arrival: float, impair: np.ndarray, reserve: np.ndarray, lag: float, window: int, size: int
) -> float:
    """Log-bound without lb: gΣk + Σr_iT_i + (g−1) min{Σ(r_i−r_{i−1})^+, Σ(r_i−r_{i+1})^+}
    + log Σ_{X>n} e^{λ(X−n) − r_min X} h_{⌈X/g⌉−1}(q).

    impair, reserve = θκ, θR, shape (L,); lag = Σ θR_iT_i; window n and block size g in slots.
    """
    least = reserve.min()
    slope = arrival - least  # per slot of the window beyond n
    if not slope < 0.0:
        return math.inf
    node = size * (impair - reserve + least)
    top = node.max()
    tail = np.empty(node.size)
    if not resolvent(node, slope * size, tail):
        return math.inf
    blocks = window // size
    # The block that n+1 opens has `rest` slots left; whole blocks follow.  Both multiply the same matrix
    # power.
    rest = (blocks + 1) * size - window
    first = -math.expm1(slope * rest)
    whole = -math.expm1(slope * size)
    total = 0.0
    for i in range(node.size):
        total += math.exp(slope * rest + node[i]) * tail[i]
        tail[i] = first + whole * total
    apply_power(np.exp(node - top), blocks, tail)
    value = slope * (window + 1) - arrival * window + blocks * top + math.log(tail[-1])
    rises, falls = 0.0, 0.0
    for i in range(1, node.size):
        rises += max(reserve[i] - reserve[i - 1], 0.0)
        falls += max(reserve[i - 1] - reserve[i], 0.0)
    return value - math.log(-math.expm1(slope)) + lag + size * impair.sum() + (size - 1) * min(rises, falls)
