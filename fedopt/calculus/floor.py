"""What one domain alone must reserve: a floor under every minplus form of every path that contains it.

The worst path value from any slot to the deadline is at least the one that stays in a single domain for the
whole window, so no form lies below the one-domain ville value (started at ℓ = 1) of any of its domains at
the same θ.  The least rate R(θ) = max(ρ+κ, [log 1/ε + θ(σ+η) + θρ + θκ(n+1)] / [θ(n+1−T)]) is quasi-convex
in θ, being a maximum of ratios of a convex and a linear function, so one search by golden section is exact.
"""

from __future__ import annotations

import math

from fedopt.kernels import kernel
from fedopt.laws.compiled import log_burst, log_rate, request_log_bias, ville_burst

__all__ = ["ville_floor"]

_RATIO = 0.6180339887498949


@kernel
def floor_at_theta(models, arrival, row, exponent, window, lag, biased, log_epsilon, theta):
    """The floor at one θ, work/slot; +inf outside the domain of a model."""
    free = log_rate(models, arrival, theta)
    burst = ville_burst(models, arrival, theta)
    if biased:
        burst += request_log_bias(models, arrival, theta)
    kappa = log_rate(models, row, theta * exponent) / exponent
    burst += log_burst(models, row, theta * exponent) / exponent
    if not free + kappa + burst < math.inf:
        return math.inf
    need = (burst - log_epsilon + free + kappa * (window + 1)) / (window + 1 - lag)
    return max(free + kappa, need) / theta


@kernel
def ville_floor(models, arrival, row, exponent, window, lag, biased, log_epsilon, guess):
    """(least rate in work/slot, θ) of one domain alone with the path's whole window of slots; +inf where
    none is enough.

    row: the impairment's row, −1 for none; exponent: its Hölder exponent; lag: its rate-latency in slots;
    guess: a θ to start from.
    """
    if window < 0 or not window + 1 - lag > 0.0:
        return math.inf, guess
    args = (models, arrival, row, exponent, window, lag, biased, log_epsilon)
    x = math.log(guess)
    value = floor_at_theta(*args, guess)
    while value == math.inf and x > -60.0:
        x -= 0.7
        value = floor_at_theta(*args, math.exp(x))
    if value == math.inf:
        return math.inf, guess
    step = 0.5
    low, high = x - step, x + step
    at_low, at_high = floor_at_theta(*args, math.exp(low)), floor_at_theta(*args, math.exp(high))
    while at_low < value and low > -80.0:
        high, x, value = x, low, at_low
        step *= 1.6
        low = x - step
        at_low = floor_at_theta(*args, math.exp(low))
    while at_high < value and high < 80.0:
        low, x, value = x, high, at_high
        step *= 1.6
        high = x + step
        at_high = floor_at_theta(*args, math.exp(high))
    a, b = high - _RATIO * (high - low), low + _RATIO * (high - low)
    at_a, at_b = floor_at_theta(*args, math.exp(a)), floor_at_theta(*args, math.exp(b))
    while high - low > 2e-6:
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - _RATIO * (high - low)
            at_a = floor_at_theta(*args, math.exp(a))
        else:
            low, a, at_a = a, b, at_b
            b = low + _RATIO * (high - low)
            at_b = floor_at_theta(*args, math.exp(b))
    if at_a <= at_b:
        return min(at_a, value), math.exp(a)
    return min(at_b, value), math.exp(b)
