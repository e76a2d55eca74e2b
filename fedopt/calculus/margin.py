"""The least common margin over given floors that the plain image form proves at a given (θ, α); compiled.

R_i = min(floor_i + m, cap_i).  What is returned is proven: the log-bound at these rates is at most log ε.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.image import image
from fedopt.kernels import formula
from fedopt.laws.compiled import log_burst, request_log_bias, ville_burst

__all__ = ["least_margin"]


@formula
def _log_bound(path, floor, cap, theta, alpha, margin, work):
    """The log-bound less log ε at a margin; +inf where nothing is proven."""
    models, arrival, impair, lag, window, biased, log_epsilon = path
    rate, charge, gamma, log_wall, cut = work
    hops = impair.size
    burst = ville_burst(models, arrival, theta) - log_epsilon
    if biased:
        burst += request_log_bias(models, arrival, theta)
    for i in range(hops):
        rate[i] = min(floor[i] + margin, cap[i])
        burst += log_burst(models, impair[i], theta) + theta * rate[i] * lag[i]
    if not burst < math.inf:
        return math.inf
    charge[:] = theta * alpha
    walls = charge[: hops - 1], gamma[: hops - 1], log_wall[: hops - 1]
    return burst + image(
        models, arrival, impair, cut, walls[0], rate, theta, window, 1, walls[1], walls[2], False
    )


@formula
def least_margin(path, floor, cap, theta, alpha, guess) -> float:
    """The least margin, work/slot, to 1e-12 of a rate; +inf where none is enough.

    path: (models, arrival, impair (L,), lag (L,), window, biased, log_epsilon); floor, cap: work/slot, shape
    (L,); guess: a margin to start from.
    """
    hops = floor.size
    work = np.empty(hops), np.empty(hops), np.empty(hops), np.empty(hops), np.arange(hops + 1)
    unit, most = 0.0, 0.0
    for i in range(hops):
        unit = max(unit, floor[i])
        most = max(most, cap[i] - floor[i])
    most = min(most, 1e3 * unit)
    high = min(max(guess, 0.0), most)
    step = 1e-6 * unit
    at_high = _log_bound(path, floor, cap, theta, alpha, high, work)
    while at_high > 0.0 and step < 1e-3 * unit and high < most:  # the guess of a search is nearly enough
        high = min(high + step, most)
        step *= 4.0
        at_high = _log_bound(path, floor, cap, theta, alpha, high, work)
    if (
        at_high > 0.0
    ):  # from below: a rate-latency T costs θRT, so a bound falls with the margin and then rises
        high, step, before = 0.0, 1e-3 * unit, math.inf
        at_high = _log_bound(path, floor, cap, theta, alpha, high, work)
        while at_high > 0.0 and high < most and not at_high > before:
            before = at_high
            high = min(high + step, most)
            step *= 1.5
            at_high = _log_bound(path, floor, cap, theta, alpha, high, work)
    if at_high > 0.0:
        return math.inf
    step = 1e-6 * unit
    low, at_low = high, at_high
    while at_low <= 0.0:
        if low == 0.0:
            return 0.0
        high, at_high = low, at_low
        low = max(low - step, 0.0)
        step *= 4.0
        at_low = _log_bound(path, floor, cap, theta, alpha, low, work)
    proven, side = at_high, 0
    while high - low > 1e-12 * (unit + high):
        if at_low < math.inf and at_high < at_low:  # Illinois: the end that stays counts half
            middle = high - at_high * (high - low) / (at_high - at_low)
            middle = min(max(middle, low + 1e-3 * (high - low)), high - 1e-3 * (high - low))
        else:
            middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        value = _log_bound(path, floor, cap, theta, alpha, middle, work)
        if value <= 0.0:
            high, at_high, proven = middle, value, value
            if side > 0:
                at_low *= 0.5
            side = 1
        else:
            low, at_low = middle, value
            if side < 0:
                at_high *= 0.5
            side = -1
        if proven > -1e-12:
            break
    return high
