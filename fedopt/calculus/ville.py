"""The ville form: impairments that grow with the interval and independent increments remove the sum over ℓ.

e^{θ(A + ΣI − R·time)} is a supermartingale in ℓ; Ville's inequality bounds its supremum by its start at ℓ =
1.
Scaled by θ as in `fine`; linear in the smallest reservation.
"""

from __future__ import annotations

import math

from fedopt.kernels import formula

__all__ = ["ville"]


@formula
def ville(arrival: float, impair_sum: float, reserve: float, lag: float, window: int, start: int) -> float:
    """Log-bound without lb: Σk·n − (r·n − r·T) + start·(λ + Σk − r), valid for r ≥ λ + Σk.

    reserve = θ min R; lag = θ min R · ΣT; start = 1 (the supremum begins with the slot of the work itself)
    or 0.
    """
    growth = arrival + impair_sum - reserve
    if growth > 0.0:
        return math.inf
    return (impair_sum - reserve) * window + lag + start * growth
