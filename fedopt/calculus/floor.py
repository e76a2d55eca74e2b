"""What one domain alone must reserve: a floor under every minplus form of every path that contains it.

The worst path value from any slot to the deadline is at least the one that stays in a single domain for the
whole window, so no form lies below the one-domain ville value (started at ℓ = 1) of any of its domains at
the same θ.  The least rate R(θ) = max(ρ+κ, [log 1/ε + θ(σ+η) + θρ + θκ(n+1)] / [θ(n+1−T)]) is quasi-convex
in θ on each piece of the axis where tabulated envelopes are convex (`theta_pieces`), being a maximum of
ratios of a convex and a linear function, so one search by golden section there is exact.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.theta_pieces import pieces
from fedopt.kernels import formula
from fedopt.laws.compiled import log_burst, log_rate, request_log_bias, seen_on, ville_burst

__all__ = ["ville_floor"]

_RATIO = 0.6180339887498949


@formula
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
    if biased:
        burst -= seen_on(models, arrival, np.array([row]), theta, free + kappa)
    need = (burst - log_epsilon + free + kappa * (window + 1)) / (window + 1 - lag)
    return max(free + kappa, need) / theta


@formula
def ville_floor(models, arrival, row, exponent, window, lag, biased, log_epsilon, guess):
    """(least rate in work/slot, θ) of one domain alone with the path's whole window of slots; +inf where
    none is enough.

    row: the impairment's row, −1 for none; exponent: its Hölder exponent; lag: its rate-latency in slots;
    guess: a θ to start from.
    """
    if window < 0 or not window + 1 - lag > 0.0:
        return math.inf, guess
    rows, exponents = np.array([row]), np.array([exponent])
    ends = pieces(models, arrival, rows, exponents)
    args = (models, arrival, row, exponent, window, lag, biased, log_epsilon)
    best, chosen = math.inf, guess
    for piece in range(ends.size - 1):
        lower, upper = ends[piece], ends[piece + 1]
        for end in (lower, upper):
            if 0.0 < end < math.inf:
                value = floor_at_theta(*args, end)
                if value < best:
                    best, chosen = value, end
        start = guess
        if not lower < start < upper:
            start = math.sqrt(lower * upper) if lower > 0.0 else 0.9 * upper
        value, theta = _on_piece(args, start, lower, upper)
        if value < best:
            best, chosen = value, theta
    return best, chosen


@formula
def _within(args, x, lower, upper):
    """The floor at θ = eˣ; +inf outside a piece."""
    theta = math.exp(x)
    return floor_at_theta(*args, theta) if lower <= theta <= upper else math.inf


@formula
def _on_piece(args, guess, lower, upper):
    """(least floor, θ) between two ends, where it is quasi-convex, by golden section."""
    x = math.log(guess)
    value = _within(args, x, lower, upper)
    tries = 0
    while value == math.inf and x > -60.0 and tries < 90:
        tries += 1
        x -= 0.7
        if lower > 0.0 and upper < math.inf:  # evenly over a bounded piece
            x = math.log(lower) + tries / 91.0 * math.log(upper / lower)
        value = _within(args, x, lower, upper)
    if value == math.inf:
        return math.inf, guess
    step = 0.5
    low, high = x - step, x + step
    at_low, at_high = _within(args, low, lower, upper), _within(args, high, lower, upper)
    while at_low < value and low > -80.0:
        high, x, value = x, low, at_low
        step *= 1.6
        low = x - step
        at_low = _within(args, low, lower, upper)
    while at_high < value and high < 80.0:
        low, x, value = x, high, at_high
        step *= 1.6
        high = x + step
        at_high = _within(args, high, lower, upper)
    a, b = high - _RATIO * (high - low), low + _RATIO * (high - low)
    at_a, at_b = _within(args, a, lower, upper), _within(args, b, lower, upper)
    while high - low > 1e-8:
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - _RATIO * (high - low)
            at_a = _within(args, a, lower, upper)
        else:
            low, a, at_a = a, b, at_b
            b = low + _RATIO * (high - low)
            at_b = _within(args, b, lower, upper)
    if at_a <= at_b:
        return min(at_a, value), math.exp(a)
    return min(at_b, value), math.exp(b)
