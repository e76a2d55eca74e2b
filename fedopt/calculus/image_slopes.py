"""The plain image form along a profile R_i = c·s_i with its slopes, for Newton's method: compiled.

At θ = e^x and a_1 = … = a_{L−1} = a = θ(1 + e^y) the log-bound B(x, y, c) and the growth condition E(x, y, c)
= Λ_A(θ) + ℓ_main ≤ 0 are smooth.  The walls' roots γ_i are differentiated implicitly, dγ_i = −dm_i / m_i'(γ_i);
what is left, a function of (θ, a, c, γ) without roots, by a difference quotient along dγ, good to 1e-5.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fedopt.calculus.image import image_prefactor, plain_charges
from fedopt.calculus.moments import moment_and_slope
from fedopt.calculus.series import log_sum
from fedopt.envelopes.compiled import log_burst, request_log_bias

__all__ = ["image_slopes", "slopes_workspace"]

_H = 1e-6


@njit(cache=True, error_model="numpy")
def slopes_workspace(hops: int) -> tuple[np.ndarray, ...]:
    """What `image_slopes` writes to, for paths of up to so many domains."""
    return np.empty(hops), np.empty(hops), np.empty(hops), np.empty(hops), np.empty(hops), np.empty(hops)


@njit(cache=True, error_model="numpy")
def _without_roots(theta, a, free, main, window, gamma, charge, log_wall):
    """The log-bound less its burst terms at given γ, started at ℓ = 1; charge, log_wall: scratch."""
    charge[:] = a
    plain_charges(charge, gamma, log_wall)
    total = window * main + free + main
    for i in range(gamma.size):
        total = log_sum(total, log_wall[i] - window * free)
    return total - image_prefactor(charge, gamma, theta, log_wall)


@njit(cache=True, error_model="numpy")
def _root(models, impair, shape, scale, rest, following, i, guess):
    """(largest γ with m_i(γ) = 0, m_i', Λ_{i+1}'); γ = −1 where there is none or Newton's method finds none.

    m_i(γ) = Λ_i(−γ) + γR_i + Λ_{i+1}(following + γ) − (following + γ)R_{i+1} + rest, convex.
    """
    here, there = scale * shape[i], scale * shape[i + 1]
    gamma, inside, slope, rise = guess, 0.0, 0.0, 0.0
    for _ in range(100):
        before, fall = moment_and_slope(models, impair[i], -gamma)
        after, rise = moment_and_slope(models, impair[i + 1], following + gamma)
        value = rest + before + gamma * here + after - (following + gamma) * there
        slope = here - fall + rise - there
        if not value < math.inf:
            gamma = 0.5 * (gamma + inside)
            if gamma - inside <= 1e-12 * gamma:
                return -1.0, slope, rise
            continue
        if slope <= 0.0 or value <= 0.0:
            inside = max(inside, gamma)
        if slope <= 0.0:
            gamma *= 1.5
            if gamma > 1e9 * guess:
                return -1.0, slope, rise
            continue
        step = max(value / slope, -gamma)
        gamma -= step
        if not gamma > 0.0:
            return -1.0, slope, rise
        if abs(step) <= 1e-8 * gamma:
            return gamma, slope, rise
    return -1.0, slope, rise


@njit(cache=True, error_model="numpy")
def image_slopes(path, shape, x, y, scale, gamma, out, work) -> bool:
    """B − log ε, B_x, B_y, B_c, E, E_x, E_y, E_c into out, shape (8,); False where the form is not defined.

    path: (models, arrival, impair (L,), lag (L,), window, biased, log_epsilon), L ≥ 2; shape: s, (L,); gamma:
    (L−1,), guesses of the roots or 0, replaced by the roots; work: `slopes_workspace` of at least L.
    E > 0 is no obstacle: there the value continues smoothly, and proves nothing.
    """
    models, arrival, impair, lag, window, biased, log_epsilon = path
    walls, last = impair.size - 1, impair.size - 1
    charge, log_wall, moved = work[0][:walls], work[1][:walls], work[2][:walls]
    by_theta, by_a, by_scale = work[3], work[4], work[5]
    theta, steep = math.exp(x), math.exp(y)
    a, near = theta * (1.0 + steep), theta * (1.0 + _H)
    free, free_rise = moment_and_slope(models, arrival, theta)
    burst, burst_near = log_burst(models, arrival, theta), log_burst(models, arrival, near)
    if biased:
        burst += request_log_bias(models, arrival, theta)
        burst_near += request_log_bias(models, arrival, near)
    lagged = 0.0
    for i in range(last + 1):
        burst += log_burst(models, impair[i], theta)
        burst_near += log_burst(models, impair[i], near)
        lagged += shape[i] * lag[i]
    first_moment, first_rise = moment_and_slope(models, impair[0], a)
    if not (free < math.inf and burst_near < math.inf and first_moment < math.inf):
        return False
    last_moment, last_rise = moment_and_slope(models, impair[last], theta - a)
    # ℓ_L(θ − a), part of the main term and of every wall but the last
    end = last_moment - (theta - a) * scale * shape[last]
    end_theta, end_scale = last_rise - scale * shape[last], -(theta - a) * shape[last]
    main = first_moment - a * scale * shape[0] + end
    main_a, main_scale = first_rise - scale * shape[0] - end_theta, -a * shape[0] + end_scale
    for i in range(walls):
        closing = i == walls - 1
        following = theta if closing else a
        rest = free + (0.0 if closing else end)
        guess = gamma[i] if gamma[i] > 0.0 else 1.2 * theta
        gamma[i], slope, rise = _root(models, impair, shape, scale, rest, following, i, guess)
        if not gamma[i] > 0.0:
            return False
        push = rise - scale * shape[i + 1]
        toward_scale = gamma[i] * shape[i] - (following + gamma[i]) * shape[i + 1]
        if closing:
            by_theta[i], by_a[i] = -(free_rise + push) / slope, 0.0
            by_scale[i] = -toward_scale / slope
        else:
            by_theta[i], by_a[i] = -(free_rise + end_theta) / slope, -(push - end_theta) / slope
            by_scale[i] = -(toward_scale + end_scale) / slope
    centre = _without_roots(theta, a, free, main, window, gamma, charge, log_wall)
    step = theta * _H
    for i in range(walls):
        moved[i] = gamma[i] + step * by_theta[i]
    free_near, main_near = free + step * free_rise, main + step * end_theta
    slope_theta = (
        _without_roots(near, a, free_near, main_near, window, moved, charge, log_wall) - centre
    ) / step
    step = a * _H
    for i in range(walls):
        moved[i] = gamma[i] + step * by_a[i]
    main_near = main + step * main_a
    slope_a = (
        _without_roots(theta, a + step, free, main_near, window, moved, charge, log_wall) - centre
    ) / step
    step = scale * _H
    for i in range(walls):
        moved[i] = gamma[i] + step * by_scale[i]
    main_near = main + step * main_scale
    slope_scale = (_without_roots(theta, a, free, main_near, window, moved, charge, log_wall) - centre) / step
    slope_theta += (burst_near - burst) / (theta * _H) + scale * lagged
    out[0] = burst - log_epsilon + theta * scale * lagged + centre
    out[1] = theta * slope_theta + a * slope_a
    out[2] = theta * steep * slope_a
    out[3] = slope_scale + theta * lagged
    out[4] = free + main
    out[5] = theta * (free_rise + end_theta) + a * main_a
    out[6] = theta * steep * main_a
    out[7] = main_scale
    return math.isfinite(out[0])
