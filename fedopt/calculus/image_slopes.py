"""The plain image form at rates R_i = floor_i + m, with its slopes, for Newton's method: compiled.

At θ = e^x, a_1 = … = a_{L−1} = a = θ(1 + e^y) and a common margin m the log-bound B(x, y, m) and the growth
condition E(x, y, m) = Λ_A(θ) + ℓ_main ≤ 0 are smooth.  As every condition of the form is one about exponents
that add up to θ, the margin enters through ψ = Λ_A(θ) − θm alone: E and all m_i are those at the floors with
ψ in the place of Λ_A.  The walls' roots γ_i are differentiated implicitly, dγ_i = −dm_i / m_i'(γ_i); what is
left, a function of (θ, a, ψ, γ) without roots, by a difference quotient along dγ, good to 1e-5.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.image import image_prefactor, plain_charges
from fedopt.calculus.moments import moment_and_slope
from fedopt.calculus.series import log_sum
from fedopt.kernels import formula
from fedopt.laws.compiled import log_burst, request_log_bias, ville_burst

__all__ = ["image_slopes", "slopes_workspace"]

_H = 1e-6


@formula
def slopes_workspace(hops: int):
    """What `image_slopes` writes to, for paths of up to so many domains."""
    return np.empty(hops), np.empty(hops), np.empty(hops), np.empty(hops), np.empty(hops), np.empty(hops)


@formula
def _without_roots(theta, a, psi, main, window, gamma, charge, log_wall):
    """The log-bound at given γ, less its burst terms and −window·Λ_A; charge, log_wall: scratch."""
    charge[:] = a
    plain_charges(charge, gamma, log_wall)
    total = (window + 1) * (psi + main)
    for i in range(gamma.size):
        total = log_sum(total, log_wall[i])
    return total - image_prefactor(charge, gamma, theta, log_wall)


@formula
def _least(models, members, i, eta):
    """(ℓ, ℓ') at η of position i at the floors: the least over its members of Λ(η) − η·floor."""
    first, row, floor = members
    value, slope = math.inf, math.inf
    for k in range(first[i], first[i + 1]):
        moment, rise = moment_and_slope(models, row[k], eta)
        if moment - eta * floor[k] < value:
            value, slope = moment - eta * floor[k], rise - floor[k]
    return value, slope


@formula
def _root(models, members, rest, following, i, guess):
    """(γ, m_i', ℓ_{i+1}') at the largest γ with m_i(γ) = 0; γ = −1 where there is none or none is found.

    m_i(γ) = ℓ_i(−γ) + ℓ_{i+1}(following + γ) + rest, convex for single members.
    """
    behind, before = 2 * i, 2 * i + 3
    gamma, inside, slope, rise = guess, 0.0, 0.0, 0.0
    for _ in range(100):
        here, fall = _least(models, members, behind, -gamma)
        there, rise = _least(models, members, before, following + gamma)
        value, slope = rest + here + there, rise - fall
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


@formula
def image_slopes(path, x, y, margin, gamma, out, work) -> bool:
    """B − log ε, B_x, B_y, B_m, E, E_x, E_y, E_m into out, shape (8,); False where the form is not defined.

    path: (models, arrival, members, burst, lag, lagged, window, biased, log_epsilon).  members: (first
    (2L+1,), row (M,), floor (M,)): members first[2i] … first[2i+1] − 1 hold position i against the walls
    behind it, where η < 0, those up to first[2i+2] − 1 against what comes before, where η > 0; where there
    are several, their least ℓ counts, so that the bound is below that of every choice among them.  burst:
    rows whose bursts count, (K,); lag: Σ T_i; lagged: Σ floor_i·T_i.  gamma: (L−1,), L ≥ 2, guesses of the
    roots or 0, replaced by the roots; work: `slopes_workspace` of at least L.  E > 0 is no obstacle: there
    the value continues smoothly, and proves nothing.
    """
    models, arrival, members, bursts, lag, lagged, window, biased, log_epsilon = path
    walls = gamma.size
    charge, log_wall, moved = work[0][:walls], work[1][:walls], work[2][:walls]
    by_theta, by_a, by_psi = work[3], work[4], work[5]
    theta, steep = math.exp(x), math.exp(y)
    a, near = theta * (1.0 + steep), theta * (1.0 + _H)
    free, free_rise = moment_and_slope(models, arrival, theta)
    burst, burst_near = ville_burst(models, arrival, theta), ville_burst(models, arrival, near)
    if biased:
        burst += request_log_bias(models, arrival, theta)
        burst_near += request_log_bias(models, arrival, near)
    for row in bursts:
        burst += log_burst(models, row, theta)
        burst_near += log_burst(models, row, near)
    start, start_rise = _least(models, members, 1, a)
    if not (free < math.inf and burst_near < math.inf and start < math.inf):
        return False
    psi, psi_rise = free - theta * margin, free_rise - margin
    # ℓ_L(θ − a), part of the main term and of every wall but the last
    end, end_rise = _least(models, members, 2 * walls, theta - a)
    main, main_a = start + end, start_rise - end_rise
    for i in range(walls):
        closing = i == walls - 1
        guess = gamma[i] if gamma[i] > 0.0 else 1.2 * theta
        rest, following = (psi, theta) if closing else (psi + end, a)
        gamma[i], slope, push = _root(models, members, rest, following, i, guess)
        if not gamma[i] > 0.0:
            return False
        by_psi[i] = -1.0 / slope
        if closing:
            by_theta[i], by_a[i] = -(psi_rise + push) / slope, 0.0
        else:
            by_theta[i], by_a[i] = -(psi_rise + end_rise) / slope, -(push - end_rise) / slope
    centre = _without_roots(theta, a, psi, main, window, gamma, charge, log_wall)
    step = theta * _H
    for i in range(walls):
        moved[i] = gamma[i] + step * by_theta[i]
    psi_near, main_near = psi + step * psi_rise, main + step * end_rise
    slope_theta = (
        _without_roots(near, a, psi_near, main_near, window, moved, charge, log_wall) - centre
    ) / step
    slope_theta += (burst_near - burst) / step - window * free_rise + lagged + margin * lag
    step = a * _H
    for i in range(walls):
        moved[i] = gamma[i] + step * by_a[i]
    main_near = main + step * main_a
    slope_a = (
        _without_roots(theta, a + step, psi, main_near, window, moved, charge, log_wall) - centre
    ) / step
    step = theta * _H
    for i in range(walls):
        moved[i] = gamma[i] - step * by_psi[i]
    slope_psi = -(_without_roots(theta, a, psi - step, main, window, moved, charge, log_wall) - centre) / step
    out[0] = burst - log_epsilon - window * free + theta * (lagged + margin * lag) + centre
    out[1] = theta * slope_theta + a * slope_a
    out[2] = theta * steep * slope_a
    out[3] = -theta * slope_psi + theta * lag
    out[4] = psi + main
    out[5] = theta * (psi_rise + end_rise) + a * main_a
    out[6] = theta * steep * main_a
    out[7] = -theta
    return math.isfinite(out[0])
