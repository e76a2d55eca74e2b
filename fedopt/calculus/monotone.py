"""The monotone form: impairments that grow with the interval let every domain be charged the whole window.

No union over splits, but the sum of all κ instead of the worst one.  Scaled by θ as in `fine`.
"""

from __future__ import annotations

import math

from fedopt.kernels import formula

__all__ = ["monotone"]


@formula
def monotone(arrival: float, impair_sum: float, reserve: float, lag: float, window: int) -> float:
    """Log-bound without lb: Σk·n − r·n + r·T − log(e^Δ − 1), Δ = r − λ − Σk > 0, r = θ min R."""
    margin = reserve - arrival - impair_sum
    if not margin > 0.0:
        return math.inf
    # log(e^Δ − 1) = Δ + log(1 − e^{−Δ}), exact for small and for large margins alike
    return (impair_sum - reserve) * window + lag - margin - math.log(-math.expm1(-margin))
