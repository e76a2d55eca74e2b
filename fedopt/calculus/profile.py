"""The least reservations of a path along a profile R_i(c) = min(c·s_i, cap_i) at a fixed θ.

s = 1 asks for equal rates; other shapes reserve more where impairments are larger.  Every answer is proven by the
(form, θ, parameter) at which it was computed.
"""

from __future__ import annotations

import math

from numba import njit

from fedopt.calculus.forms import at_theta, growth

__all__ = ["approximate_scale", "scale_at_theta"]


@njit(cache=True)
def _reserve(scale, shape, cap, rate):
    for i in range(shape.size):
        rate[i] = min(scale * shape[i], cap[i])


@njit(cache=True)
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
        if at_edge == at_other:  # all rates are at their caps, or the root is met to the last digit
            if at_other > 1e-13:
                return math.inf
            break
        step = at_other * (other - edge) / (at_edge - at_other)
        edge, at_edge = other, at_other
        other = max(other + step, 1e-3 * other)
        if abs(step) <= 1e-13 * other:
            break
    return max(edge, other) * (1.0 + 4e-13)


@njit(cache=True)
def approximate_scale(form, path, theta, parameter, cut, shape, cap, guess, slope, ceiling, work):
    """(c, dB/dc): the scale of `scale_at_theta` to about 1e-6 by secants, for searches; +inf where there is none.

    slope: of the log-bound in c, from an earlier call, or 0.
    """
    models, arrival, impair, exponent, lag, window, biased, log_epsilon = path
    scratch, rate = work
    edge = _edge(form, path, theta, parameter, cut, shape, cap, guess, work)
    if not edge <= ceiling:
        return math.inf, slope
    scale = max(guess, edge)
    floor = edge  # the log-bound may be infinite up to here
    last, at_last = math.nan, math.nan
    for _ in range(25):
        _reserve(scale, shape, cap, rate)
        value = at_theta(
            form, models, arrival, impair, exponent, lag, window, biased, rate, theta, parameter, cut, scratch
        )
        value -= log_epsilon
        if value == math.inf:
            floor = scale
            if scale >= ceiling:
                return math.inf, slope
            scale = min(1.05 * scale, ceiling) if math.isnan(last) else 0.5 * (scale + last)
            continue
        if value <= 0.0 and scale <= edge:
            return edge, slope
        if not math.isnan(last) and last != scale and at_last != value:
            slope = (value - at_last) / (scale - last)
        elif slope >= 0.0:
            slope = -10.0 * abs(log_epsilon) / scale
        last, at_last = scale, value
        if not slope < 0.0:
            slope = -10.0 * abs(log_epsilon) / scale
        step = -value / slope
        step = min(max(step, -0.5 * scale), scale)
        if value > 0.0 and scale >= ceiling:
            return math.inf, slope
        if abs(step) <= 1e-6 * scale:
            return scale + step, slope
        scale = min(max(scale + step, edge if floor == edge else 0.5 * (floor + scale)), ceiling)
    return scale, slope


@njit(cache=True)
def scale_at_theta(form, path, theta, parameter, cut, shape, cap, guess, ceiling, work):
    """The least scale c ≤ ceiling that a form proves at a fixed θ and parameter; +inf where there is none.

    path: (models, arrival, impair, exponent, lag, window, biased, log_epsilon); guess: a scale to start from;
    work: (scratch (4, ≥ L), rate (L,)).  The answer itself is proven, not its limit, and within 1e-12 of it.
    """
    models, arrival, impair, exponent, lag, window, biased, log_epsilon = path
    scratch, rate = work
    edge = _edge(form, path, theta, parameter, cut, shape, cap, guess, work)
    high = max(min(guess, ceiling), edge)
    if high > ceiling:
        return math.inf
    _reserve(high, shape, cap, rate)
    at_high = at_theta(
        form, models, arrival, impair, exponent, lag, window, biased, rate, theta, parameter, cut, scratch
    )
    at_high -= log_epsilon
    low, at_low = edge, math.inf
    step = 0.02
    while at_high > 0.0:
        if high >= ceiling:
            return math.inf
        low, at_low = high, at_high
        high = min(high * (1.0 + step), ceiling)
        step *= 2.0
        _reserve(high, shape, cap, rate)
        at_high = at_theta(
            form, models, arrival, impair, exponent, lag, window, biased, rate, theta, parameter, cut, scratch
        )
        at_high -= log_epsilon
    if at_low == math.inf:  # nothing known below: is the edge itself enough, or where does the bound fail?
        step = 0.02
        while True:
            low = max(high * (1.0 - step), edge)
            step = min(2.5 * step, 0.9)
            _reserve(low, shape, cap, rate)
            at_low = at_theta(
                form,
                models,
                arrival,
                impair,
                exponent,
                lag,
                window,
                biased,
                rate,
                theta,
                parameter,
                cut,
                scratch,
            )
            at_low -= log_epsilon
            if at_low > 0.0:
                break
            high, at_high = low, at_low
            if low <= edge:
                return high
    side = 0
    for _ in range(80):
        if high - low <= 1e-12 * high:
            break
        if at_low < math.inf:
            middle = high - at_high * (high - low) / (at_high - at_low)
            middle = min(max(middle, low + 0.001 * (high - low)), high - 0.001 * (high - low))
        else:
            middle = 0.5 * (low + high)
        _reserve(middle, shape, cap, rate)
        value = at_theta(
            form, models, arrival, impair, exponent, lag, window, biased, rate, theta, parameter, cut, scratch
        )
        value -= log_epsilon
        if value <= 0.0:
            high, at_high = middle, value
            if value > -1e-11:
                break
            if side > 0:
                at_low *= 0.5
            side = 1
        else:
            low, at_low = middle, value
            if side < 0:
                at_high *= 0.5
            side = -1
    return high
