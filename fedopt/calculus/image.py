"""The image form: i.i.d. work per slot, reflected at the walls between domains like charges in a mirror.

F = φ^{−1} e^{θG_L}[e^{Σa_jD_j} + Σ_i B_i e^{−γ_iD_i + Σ_{j>i}a_jD_j}] dominates e^{θG_1} (G_i is the worst
path value that starts in domain i, D_i = G_i − G_{i+1} ≥ 0), and e^{θA}F is a supermartingale backwards in
time; Ville's inequality bounds its supremum.  One term of F, the main one, grows by Σℓ_i(λ_i) a slot, each
wall's image by m_i ≤ −Λ_A.

ℓ_i(η) = Λ_i(η) − ηR_i for η of either sign;  λ = (a_1, a_2−a_1, …, θ−a_{L−1}),  a_1 ≥ … ≥ a_{L−1} ≥ a_L =
θ; B_1 = a_1/γ_1,  B_i = (a_i+γ_{i−1})B_{i−1}/γ_i.

Where rates do not fall along the path, the smaller B_i of `overshoot` take their place. The a_i are all αθ,
or tapered: falling towards θ about like 1/i, which pays on paths of like domains. Consecutive domains may be
merged first (sum of Λ, smallest R): `cut` lists where each group starts.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.moments import moment_and_slope
from fedopt.calculus.overshoot import credited_charges
from fedopt.calculus.series import log_sum
from fedopt.kernels import formula
from fedopt.laws.compiled import log_rate

__all__ = ["image", "image_prefactor", "main_growth", "plain_charges", "set_charges", "wall_root"]


@formula
def group_moment(models, impair: np.ndarray, cut: np.ndarray, i: int, eta: float) -> float:
    """Σ Λ_d(η) over the domains of group i; for η < 0 an unknown log-moment counts as 0."""
    total = 0.0
    for d in range(cut[i], cut[i + 1]):
        total += log_rate(models, impair[d], eta)
    return total


@formula
def set_charges(parameter, theta, charge) -> None:
    """a_1 ≥ … ≥ a_{groups−1} into `charge`: all αθ for a parameter α ≥ 1; for −α a_1 = αθ, and a_i − θ falls
    like √(1 − (i−1)/groups)/i."""
    groups = charge.size + 1.0
    for i in range(charge.size):
        if parameter >= 0.0:
            charge[i] = parameter * theta
        else:
            charge[i] = theta * (1.0 - (parameter + 1.0) * math.sqrt(1.0 - i / groups) / (i + 1.0))


@formula
def main_growth(models, impair, cut, charge, rate, theta) -> float:
    """Σ ℓ_i(λ_i) of the image's main term, in nats a slot."""
    groups = cut.size - 1
    total = 0.0
    previous = 0.0
    for i in range(groups):
        a = charge[i] if i < groups - 1 else theta
        weight = a - previous
        if weight != 0.0:
            total += group_moment(models, impair, cut, i, weight) - weight * rate[i]
        previous = a
    return total


@formula
def _wall(models, impair, cut, rate, following, rest, i, gamma):
    """(m_i, dm_i/dγ) with m_i = ℓ_i(−γ) + ℓ_{i+1}(a_{i+1}+γ) + rest, convex in γ."""
    value = rest + gamma * rate[i] - (following + gamma) * rate[i + 1]
    slope = rate[i] - rate[i + 1]
    for d in range(cut[i], cut[i + 1]):
        moment, rise = moment_and_slope(models, impair[d], -gamma)
        value += moment
        slope -= rise
    for d in range(cut[i + 1], cut[i + 2]):
        moment, rise = moment_and_slope(models, impair[d], following + gamma)
        value += moment
        slope += rise
    return value, slope


@formula
def wall_root(models, impair, cut, charge, rate, theta, i, limit, guess) -> float:
    """The largest γ_i with m_i(γ) ≤ limit, rounded to the safe side; −1 where none is found.  guess > 0: a
    start.

    m_i = ℓ_i(−γ) + ℓ_{i+1}(a_{i+1}+γ) + Σ_{j≥i+2} ℓ_j(a_j − a_{j−1}).  Newton's method from the right of
    the largest root of a convex function descends on it without ever passing it.
    """
    groups = cut.size - 1
    following = charge[i + 1] if i + 1 < groups - 1 else theta
    rest = -limit
    previous = following
    for j in range(i + 2, groups):
        a = charge[j] if j < groups - 1 else theta
        weight = a - previous
        if weight != 0.0:
            rest += group_moment(models, impair, cut, j, weight) - weight * rate[j]
        previous = a
    # inside: a γ known to lie in every model's domain; proven: the largest met with m_i ≤ limit
    gamma, inside, proven = guess, 0.0, -1.0
    value, slope = _wall(models, impair, cut, rate, following, rest, i, gamma)
    for _ in range(200):
        if value == math.inf:
            gamma = 0.5 * (gamma + inside)
            if gamma - inside <= 1e-13 * gamma:  # a domain may end before the root
                return proven
        elif value > 0.0 and slope > 0.0:
            inside = gamma
            step = value / slope
            gamma -= step
            if not gamma > 0.0:
                return -1.0
            if (
                step <= 1e-7 * gamma
            ):  # quadratic convergence: the next error is far below; end left of the root
                for _ in range(60):
                    value, slope = _wall(models, impair, cut, rate, following, rest, i, gamma)
                    if value <= 0.0:
                        return gamma
                    gamma -= max(2.0 * value / slope, 1e-15 * gamma) if slope > 0.0 else 1e-9 * gamma
                return proven
        elif slope > 0.0:
            inside, proven = gamma, max(gamma, proven)
            if value > -1e-14:
                return gamma
            gamma += max(-1.5 * value / slope, 1e-12 * gamma) if -1.5 * value < slope * gamma else gamma
            if gamma > 1e9 * theta:
                return inside
        else:
            inside = gamma
            if value <= 0.0:
                proven = max(gamma, proven)
            gamma *= 1.5
            if gamma > 1e9 * theta:
                return inside if value <= 0.0 else -1.0
        value, slope = _wall(models, impair, cut, rate, following, rest, i, gamma)
    return proven


@formula
def plain_charges(charge, gamma, log_wall) -> None:
    """log B_i of B_1 = a_1/γ_1, B_i = (a_i+γ_{i−1})B_{i−1}/γ_i into log_wall, shape (groups−1,)."""
    for i in range(charge.size):
        if i == 0:
            log_wall[0] = math.log(charge[0] / gamma[0])
        else:
            log_wall[i] = log_wall[i - 1] + math.log((charge[i] + gamma[i - 1]) / gamma[i])


@formula
def image_prefactor(charge, gamma, theta, log_wall) -> float:
    """log φ from below, at given log B_i, shapes (groups−1,).

    φ is a geometric program of degree of difficulty zero.  Its dual weights w_j = S_j − S_{j+1} must satisfy
    S_j ≤ (a_j − θ + γ_jS_{j+1})/(a_j + γ_j); each such choice proves Π (B_j/w_j)^{w_j}, B_0 = 1.  Equality
    everywhere is φ itself when the minimum is interior; where it is not, the S_j are lowered one by one to
    where Π is largest.  φ ≥ 1 in any case.
    """
    walls = charge.size
    tail = np.empty(walls + 1)  # S_1, …, S_{L−1}, 0
    tail[walls] = 0.0
    for j in range(walls - 1, -1, -1):
        share = (charge[j] - theta + gamma[j] * tail[j + 1]) / (charge[j] + gamma[j])
        tail[j] = max(share, tail[j + 1])
    for _ in range(2):
        for j in range(walls):
            # the best w_{j−1} : w_j is B_{j−1} : B_j
            before = 1.0 if j == 0 else tail[j - 1]
            level = log_wall[j] - (0.0 if j == 0 else log_wall[j - 1])
            best = tail[j + 1] + (before - tail[j + 1]) / (1.0 + math.exp(-level))
            most = (charge[j] - theta + gamma[j] * tail[j + 1]) / (charge[j] + gamma[j])
            least = tail[j + 1]
            if j > 0:
                bend = ((charge[j - 1] + gamma[j - 1]) * tail[j - 1] - charge[j - 1] + theta) / gamma[j - 1]
                least = max(least, bend)
            if least <= most:
                tail[j] = min(max(best, least), most)
    total = 0.0
    for j in range(walls):
        weight = tail[j] - tail[j + 1]
        if weight > 0.0:
            total += weight * (log_wall[j] - math.log(weight))
    if tail[0] < 1.0:
        total -= (1.0 - tail[0]) * math.log1p(-tail[0])
    return max(total, 0.0)


@formula
def image(models, arrival, impair, cut, charge, rate, theta, window, start, gamma, log_wall, credit) -> float:
    """Log-bound without the burst terms (lb and Σθ_iR_iT_i), at reservations `rate` of the groups, work/slot.

    models: ModelTable; arrival: row; impair: rows, shape (L,); cut: group starts and L, shape (groups+1,);
    charge: a_1..a_{groups−1}; window in slots; start = 1 or 0 as in `ville`; gamma, log_wall: scratch,
    (groups−1,); credit: whether to use overshoot credit, which needs rates that do not fall along the path.
    """
    groups = cut.size - 1
    free = log_rate(models, arrival, theta)
    main = main_growth(models, impair, cut, charge, rate, theta)
    if not free + main <= 0.0:
        return math.inf
    guess = 1.2 * theta
    for i in range(groups - 1):
        guess = wall_root(models, impair, cut, charge, rate, theta, i, -free, 1.05 * guess)
        gamma[i] = guess
        if gamma[i] <= 0.0:
            return math.inf
    total = window * main + start * (free + main)
    if groups == 1:
        return total
    if credit:
        credited_charges(models, impair, cut, charge, rate, theta, gamma, log_wall)
    else:
        plain_charges(charge, gamma, log_wall)
    log_phi = image_prefactor(charge, gamma, theta, log_wall)
    for i in range(groups - 1):
        total = log_sum(total, log_wall[i] - window * free)
    return total - log_phi
