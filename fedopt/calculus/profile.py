"""The least reservations of a path along a profile R_i(c) = min(c·s_i, cap_i) at a fixed θ.

s = 1 asks for equal rates; other shapes reserve more where impairments are larger.  Every answer is proven
by the (form, θ, parameter) at which it was computed.
"""

from __future__ import annotations

import math

from fedopt.calculus.forms import at_theta, growth
from fedopt.kernels import formula

__all__ = ["scale_at_theta"]


@formula
def _reserve(scale, shape, cap, rate):
    for i in range(shape.size):
        rate[i] = min(scale * shape[i], cap[i])


@formula
def _edge(form, path, theta, parameter, cut, shape, cap, guess, work):
    """The scale at which a form's growth condition holds; +inf where no scale does.

    Growth is linear in c up to caps and minima, so secants are exact after a step or two.
    """
    models, arrival, impair, exponent, lag = path[0], path[1], path[2], path[3], path[4]
    scratch, rate = work
    edge, other = guess, 1.01 * guess
    _reserve(edge, shape, cap, rate)
    at_edge = growth(form, models, arrival, impair, exponent, lag, rate, theta, parameter, cut, scratch)
    if at_edge == math.inf:
        return math.inf
    for _ in range(50):
        _reserve(other, shape, cap, rate)
        at_other = growth(form, models, arrival, impair, exponent, lag, rate, theta, parameter, cut, scratch)
        if at_edge == at_other:  # all at their caps, or the root is met to the last digit
            if at_other > 1e-13:
                return math.inf
            if at_other > -1e-13:
                break
            edge, other = other, 0.5 * other
            continue
        step = at_other * (other - edge) / (at_edge - at_other)
        edge, at_edge = other, at_other
        other = max(other + step, 1e-3 * other)
        if abs(step) <= 1e-13 * other:
            break
    return max(edge, other) * (1.0 + 4e-13)


@formula
def scale_at_theta(form, path, theta, parameter, cut, shape, cap, guess, slope, ceiling, exact, work):
    """(c, dB/dc): the least scale c ≤ ceiling that a form proves at a fixed θ and parameter; c = +inf where
    there is none.

    path: (models, arrival, impair, exponent, lag, window, biased, log_epsilon); guess: a scale to start
    from; slope:
    of the log-bound in c from an earlier call, or 0; work: (scratch (4, ≥ L), rate (L,)).
    exact: the answer itself is proven and within 1e-12 of the least; otherwise a search to about 1e-6,
    unproven.
    """
    models, arrival, impair, exponent, lag, window, biased, log_epsilon = path
    scratch, rate = work
    edge = _edge(form, path, theta, parameter, cut, shape, cap, guess, work)
    if not edge <= ceiling:
        return math.inf, slope
    low, at_low = edge, math.inf  # below what is needed, or the edge
    high, at_high = math.inf, 0.0  # proven
    scale, last, at_last = max(min(guess, ceiling), edge), math.nan, math.nan
    steepest = -10.0 * abs(log_epsilon) / scale
    slope = max(slope, steepest)  # one met at the edge of stability says nothing elsewhere
    back, side = 0, 0
    failed = False  # whether some scale above the edge is known not to be enough
    for _ in range(120):
        _reserve(scale, shape, cap, rate)
        value = at_theta(
            form, models, arrival, impair, exponent, lag, window, biased, rate, theta, parameter, cut, scratch
        )
        value -= log_epsilon
        rising = value > at_last if scale > last else value < at_last
        far = (
            (scale >= ceiling or scale > 1e3 * edge) and scale > edge and value < math.inf and lag.max() > 0.0
        )
        rises = at_last < math.inf and last != scale and rising
        if value > 0.0 and high == math.inf and (rises or far):
            # A rate-latency T costs θRT, so a bound may rise again at large rates: go back towards the edge.
            back += 1
            if back > 8:
                return math.inf, 0.0
            scale = 0.5 * (edge + (min(scale, last) if last > 0.0 else scale))
            last, at_last, slope = math.nan, math.nan, 0.0
            continue
        if value < math.inf and at_last < math.inf and last != scale and at_last != value:
            slope = min((value - at_last) / (scale - last), 0.0)
        last, at_last = scale, value
        if value <= 0.0:
            if low > scale:  # what failed lies beyond the proven interval
                low, at_low, failed = edge, math.inf, False
            if high < math.inf and side > 0 and at_low < math.inf:
                at_low *= 0.5
            high, at_high, side = scale, value, 1
            if scale <= edge or (exact and value > -1e-11):
                return scale, slope
        else:
            if scale >= ceiling or scale > 1e3 * edge:
                return math.inf, slope
            if high < math.inf and side < 0:
                at_high *= 0.5
            low, at_low, side, failed = max(scale, edge), value, -1, True
        pitch = slope if slope < 0.0 else steepest
        if high == math.inf:
            step = -value / pitch if value < math.inf else 0.05 * scale
            step = min(max(step, 1e-9 * scale), scale)
            if not exact and step <= 1e-6 * scale:
                return scale + step, slope
            scale = min(scale + (1.02 if exact else 1.0) * step, ceiling)
        elif not failed:
            step = min(max(-value / pitch, -0.5 * scale), 0.0) if slope < 0.0 or not exact else -0.02 * scale
            if not exact and -step <= 1e-6 * scale:
                return scale + step, slope
            scale = max(scale + (1.02 if exact else 1.0) * step, edge)
        else:
            if high - low <= 1e-12 * high:
                return high, slope
            if at_low < math.inf:
                scale = high - at_high * (high - low) / (at_high - at_low)
                margin = 1e-3 * (high - low) if exact else 0.0
                scale = min(max(scale, low + margin), high - margin)
            else:
                scale = 0.5 * (low + high)
            if not exact and (high - low <= 1e-6 * high or abs(scale - last) <= 1e-6 * scale):
                return scale, slope
    return high, slope
