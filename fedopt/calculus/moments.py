"""Log-moments with their slopes, for Newton's method inside compiled loops."""

from __future__ import annotations

import math

from fedopt.kernels import formula
from fedopt.laws.compiled import GAMMA, NONE, POISSON, POISSON_EXPONENTIAL, own_log_rate

__all__ = ["moment_and_slope"]


@formula
def _own_moment_and_slope(models, m, theta):
    """The same without what whole requests add."""
    if models.rows[m, 0] == NONE:
        return 0.0, 0.0
    code = models.rows[m, 0]
    first, second = models.rows[m, 1], models.rows[m, 2]
    x = theta * second
    if code == GAMMA:
        return (-first * math.log1p(-x), first * second / (1.0 - x)) if x < 1.0 else (math.inf, math.inf)
    if code == POISSON:
        return (first * math.expm1(x), first * second * math.exp(x)) if x < 700.0 else (math.inf, math.inf)
    if code == POISSON_EXPONENTIAL:
        return (first * x / (1.0 - x), first * second / (1.0 - x) ** 2) if x < 1.0 else (math.inf, math.inf)
    step = 1e-6 * abs(theta) + 1e-12
    value = own_log_rate(models, m, theta)
    return value, (own_log_rate(models, m, theta + step) - value) / step


@formula
def moment_and_slope(models, m, theta):
    """(Λ(θ), Λ'(θ)) of row m, θ of either sign; (+inf, +inf) outside the domain.

    Tables and user-defined models use a difference quotient to the right: an upper slope, as Λ is convex.
    """
    if m < 0:
        return 0.0, 0.0
    value, slope = _own_moment_and_slope(models, m, theta)
    return value + theta * models.rows[m, 12], slope + models.rows[m, 12]
