"""Overshoot credit: smaller image charges B_i, because impairments cross a wall by jumping past it.

The image form charges a wall as if the walk could cross it by arbitrarily little. An exponential jump
that crosses a wall overshoots it by an exponential amount, whatever the level, and the image falls
exponentially in the overshoot, so a smaller charge suffices. With a_1 ≥ … ≥ a_{L−1} ≥ a_L = θ, a = a_i,
B_0 = 1, and rates that do not fall along the path (then gaps between the G_i shrink by jumps alone), the
charge of wall i must cover every part of the work of domain i+1:

exponential jumps of mean m, ν = 1/m − a_{i+1}:  B_i ≥ (ν − γ_i)/γ_i · r_i,  r_1 = a/(ν+a),
    r_{j+1} = max_D B_j[(γ_je^{−νD} − νe^{−γ_jD})/(γ_j−ν) − νe^{−γ_jD}/(ν+a)] + e^{−νD}r_j;
one size s for all jumps on the path and one rate, so that all gaps are multiples of s:
    B_i ≥ r_i/(e^{γ_is} − 1),  r_1 = 1 − e^{−as},
    r_{j+1} = max{B_j(1 − e^{−as}) + r_j, B_j(1 − e^{−(γ_j+a)s})};
any other work: B_i ≥ max_{k<i} [(a+γ_k)B_k + a Σ_{k<j<i} B_j]/γ_i (γ_0 = 0), which is the image form's own
    charge where the B_j are;
no work: nothing, the wall is never crossed.

Never above the image form's charges. Proof: docs/explanation/overshoot.md.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.kernels import formula
from fedopt.laws.compiled import GAMMA, NONE, POISSON, POISSON_EXPONENTIAL

__all__ = ["credited_charges", "exponential_rise", "lattice_rise", "lattice_size", "pointwise_rise"]

_ROUNDING = 1.0 + 1e-9
"""The maximum over D is taken at a computed D: second order in its rounding, on the safe side with this."""

_NOTHING = 1e-300
"""The charge of a wall that is never crossed: any positive number will do."""


@formula
def exponential_rise(charge, gamma, a, nu, wall) -> float:
    """r of wall number `wall` ≥ 1 for exponential jumps: the greatest expected rise of E_0, …, E_{wall−1}.

    charge: B_0 = 1, B_1, …; gamma: γ_1, … at the same index, γ_0 unused.
    """
    r = a / (nu + a)
    for j in range(1, wall):
        b, g = charge[j], gamma[j]
        apart = g - nu
        at_wall = b * a / (nu + a) + r
        d = 0.0
        if abs(apart) < 1e-5 * nu:
            if b > 0.0:
                d = (nu / (nu + a) - r / b) / nu
        else:
            slow = b * g / apart + r
            fast = -b * nu / apart - b * nu / (nu + a)
            ratio = -g * fast / (nu * slow)
            if ratio > 0.0:
                d = math.log(ratio) / apart
        best = at_wall
        if d > 0.0:
            turn = d if apart == 0.0 else -math.expm1(-apart * d) / apart
            slow_part, fast_part = math.exp(-nu * d), math.exp(-g * d)
            best = max(best, b * (slow_part * (1.0 + nu * turn) - nu * fast_part / (nu + a)) + slow_part * r)
        r = best * _ROUNDING
    return r


@formula
def lattice_rise(charge, gamma, a, size, wall) -> float:
    """r of wall number `wall` ≥ 1 where all jumps have one size and all gaps are multiples of it."""
    step = -math.expm1(-a * size)
    r = step
    for j in range(1, wall):
        r = max(charge[j] * step + r, charge[j] * -math.expm1(-(gamma[j] + a) * size))
    return r


@formula
def pointwise_rise(charge, gamma, a, wall) -> float:
    """The greatest rise of E_0, …, E_{wall−1} per unit by which a wall's domain is lifted, for any law."""
    most = 0.0
    dragged = 0.0  # a Σ B_j of the walls whose gap is closed
    for k in range(wall - 1, -1, -1):
        most = max(most, (a + (gamma[k] if k > 0 else 0.0)) * charge[k] + dragged)
        dragged += a * charge[k]
    return most


@formula
def lattice_size(models, impair, rate) -> float:
    """The one size of all jumps on a path, where there is one and all reservations are equal; else 0."""
    size = 0.0
    for d in range(impair.size):
        code = models.rows[impair[d], 0]
        if impair[d] < 0 or code == NONE:
            continue
        if code != POISSON or (size > 0.0 and models.rows[impair[d], 2] != size):
            return 0.0
        size = models.rows[impair[d], 2]
    for i in range(rate.size - 1):
        if rate[i] != rate[i + 1]:
            return 0.0
    return size


@formula
def credited_charges(models, impair, cut, charge, rate, theta, gamma, log_wall) -> None:
    """log B_i with overshoot credit into log_wall, shape (groups−1,).

    models, impair, cut, charge, rate (not falling), theta as in `image`; gamma: γ_1 …, shape
    (groups−1,). Work that is neither exponential nor on a lattice gets no credit of its own.
    """
    walls = charge.size
    b = np.empty(walls + 1)
    b[0] = 1.0
    g = np.empty(walls + 1)
    g[0] = 0.0
    size = lattice_size(models, impair, rate)
    for wall in range(1, walls + 1):
        g[wall] = gamma[wall - 1]
        a = charge[wall - 1]
        own = charge[wall] if wall < walls else theta
        need = 0.0
        last = -1.0
        for d in range(cut[wall], cut[wall + 1]):
            row = impair[d]
            code = NONE if row < 0 else models.rows[row, 0]
            if code == NONE:
                continue
            first, second = models.rows[row, 1], models.rows[row, 2]
            if code == POISSON_EXPONENTIAL or (code == GAMMA and first == math.floor(first)):
                if second == last:
                    continue
                last = second
                nu = 1.0 / second - own
                if not nu > g[wall]:
                    need = math.inf
                    continue
                need = max(need, (nu - g[wall]) / g[wall] * exponential_rise(b, g, a, nu, wall))
            elif size > 0.0:
                need = max(need, lattice_rise(b, g, a, size, wall) / math.expm1(g[wall] * size))
            else:
                need = max(need, pointwise_rise(b, g, a, wall) / g[wall])
        b[wall] = max(need, _NOTHING)
        log_wall[wall - 1] = math.log(b[wall])
