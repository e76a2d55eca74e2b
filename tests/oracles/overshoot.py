"""Overshoot credit the plain way: the maximum over a gap by a grid, φ by descent.

Poisson requests, equal rates, and domains whose jumps are exponential or of one fixed size. Every wall term
grows at its own rate, the supremum starts at ℓ = 1.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.kernels import kernel
from fedopt.laws.models import ExponentialWork, GammaWork, NoImpairment, Poisson

PER_SLOT, LATTICE, COMPOUND = range(3)


def _parts(law) -> tuple:
    """The independent kinds of work that a domain, or several merged ones, do."""
    found = tuple(getattr(law, "parts", (law,)))
    return tuple(part for part in found if not isinstance(part, NoImpairment))


def _mean_jump(law) -> float | None:
    """Mean of the exponential jumps that a law consists of; None where it does not."""
    if isinstance(law, ExponentialWork):
        return law.mean_work
    if isinstance(law, Poisson) and law.exponential:
        return law.size
    if isinstance(law, GammaWork) and float(law.shape).is_integer():
        return law.scale
    return None


def weights(impairments, rates, theta, charges, gammas) -> list[float]:
    """B_1, …, B_{L−1} at given a_1 ≥ … and γ: exponential jumps, one size for all, any law, none."""
    walls = len(gammas)
    charge, gamma = np.zeros(walls + 1), np.array([0.0, *gammas])
    charge[0] = 1.0
    every = [part for law in impairments for part in _parts(law)]
    fixed = [part for part in every if isinstance(part, Poisson) and not part.exponential]
    sizes = {part.size for part in fixed}
    lattice = len(fixed) == len(every) and len(sizes) == 1 and len(set(rates)) == 1
    for wall in range(1, walls + 1):
        a = charges[wall - 1]
        own = theta if wall == walls else charges[wall]
        needs = [1e-300]
        for part in _parts(impairments[wall]):
            mean = _mean_jump(part)
            if mean is not None:
                nu = 1.0 / mean - own
                rise = _rise(False, charge, gamma, a, nu, wall)
                needs.append((nu - gamma[wall]) / gamma[wall] * rise)
            elif lattice:
                (size,) = sizes
                rise = _rise(True, charge, gamma, a, size, wall)
                needs.append(rise / math.expm1(gamma[wall] * size))
            else:  # the gaps behind domain k are closed, its own is not
                rises = [(a + gamma[k]) * charge[k] + a * charge[k + 1 : wall].sum() for k in range(wall)]
                needs.append(max(rises) / gamma[wall])
        charge[wall] = max(needs)
    return [float(b) for b in charge[1:]]


@kernel
def _moment(kind, rate, size, eta):
    if kind == LATTICE:
        return rate * math.expm1(size * eta) if size * eta < 300.0 else math.inf
    x = size * eta
    if x >= 1.0:
        return math.inf
    return -math.log1p(-x) if kind == PER_SLOT else rate * x / (1.0 - x)


@kernel
def _growth(kind, rate, size, common, theta, a, j, gamma):
    """m_j: log-growth per slot of E_j; j = 0 is the main term."""
    groups = kind.size
    total = -common * theta
    last = groups - 1
    if groups == 1:
        return total + _moment(kind[0], rate[0], size[0], theta)
    if j == 0:
        total += _moment(kind[0], rate[0], size[0], a)
        return total + _moment(kind[last], rate[last], size[last], theta - a)
    total += _moment(kind[j - 1], rate[j - 1], size[j - 1], -gamma)
    if j < last:
        total += _moment(kind[j], rate[j], size[j], a + gamma)
        return total + _moment(kind[last], rate[last], size[last], theta - a)
    return total + _moment(kind[last], rate[last], size[last], theta + gamma)


@kernel
def _wall(kind, rate, size, common, theta, a, j, arrival):
    """Largest γ_j with Λ_A + m_j ≤ 0, slightly less; −1 where there is none."""
    if not arrival + _growth(kind, rate, size, common, theta, a, j, 0.0) <= 0.0:
        return -1.0
    high = 1.0
    for _ in range(60):
        if not arrival + _growth(kind, rate, size, common, theta, a, j, high) <= 0.0:
            break
        high *= 1.6
    low = 0.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        if arrival + _growth(kind, rate, size, common, theta, a, j, middle) <= 0.0:
            low = middle
        else:
            high = middle
    return low


@kernel
def _rise(lattice, charge, gamma, a, nu, wall):
    """r: greatest expected rise of E_0 … E_{wall−1} when wall number ``wall`` is crossed; ``nu`` is s on a
    lattice; the maximum over a gap D on a grid.
    """
    if lattice:
        r = -math.expm1(-a * nu)
        for j in range(1, wall):
            r = max(charge[j] * -math.expm1(-a * nu) + r, charge[j] * -math.expm1(-(gamma[j] + a) * nu))
        return r
    r = a / (nu + a)
    for j in range(1, wall):
        g = gamma[j]
        if abs(g - nu) < 1e-6 * nu:
            g = nu * (1.0 + 1e-6)
        best = 0.0
        step = 0.002 / (nu + g)
        for i in range(15_000):
            slow, fast = math.exp(-nu * i * step), math.exp(-g * i * step)
            value = charge[j] * ((g * slow - nu * fast) / (g - nu) - nu / (nu + a) * fast) + slow * r
            best = max(best, value)
        r = best
    return r


@kernel
def _prefactor(charge, gamma, theta, a):
    """A lower bound on φ: the convex function's value at a near-minimiser less first-order room for
    improvement.
    """
    walls = charge.size - 1
    d = np.zeros(walls)
    weight = np.empty(walls + 1)
    slope = np.empty(walls)
    for _ in range(60):
        moved = 0.0
        for c in range(walls):
            for _ in range(8):
                first, second = 0.0, 0.0
                for j in range(walls + 1):
                    e, own = 0.0, 0.0
                    for l in range(walls):
                        k = a - theta if l >= j else (-(gamma[j] + theta) if l == j - 1 else -theta)
                        e += k * d[l]
                        if l == c:
                            own = k
                    w = charge[j] * math.exp(min(e, 200.0))
                    first += w * own
                    second += w * own * own
                new = min(max(0.0, d[c] - first / max(second, 1e-300)), d[c] + 2.0)
                change = abs(new - d[c])
                d[c] = new
                moved = max(moved, change)
                if change < 1e-12:
                    break
        if moved < 1e-10:
            break
    value = 0.0
    slope[:] = 0.0
    for j in range(walls + 1):
        e = 0.0
        for l in range(walls):
            e += (a - theta if l >= j else (-(gamma[j] + theta) if l == j - 1 else -theta)) * d[l]
        weight[j] = charge[j] * math.exp(min(e, 200.0))
        value += weight[j]
        for l in range(walls):
            slope[l] += weight[j] * (a - theta if l >= j else (-(gamma[j] + theta) if l == j - 1 else -theta))
    # convex: f(D') ≥ f(D) + ∇f·(D' − D); the minimiser lies within a gap of the sizes that matter
    room = 0.0
    for l in range(walls):
        room += max(0.0, slope[l]) * d[l] + max(0.0, -slope[l]) * 50.0
    return max(1e-300, value - room)


@kernel
def log_bound(arrival_rate, arrival_size, kind, rate, size, common, window, theta, a, share, credit):
    """Natural-log bound per request of Poisson arrivals at one (θ, a, γ = share · root); +inf where nothing
    is proven.
    """
    groups = kind.size
    arrival = arrival_rate * math.expm1(theta * arrival_size)
    charge = np.empty(groups)
    gamma = np.zeros(groups)
    term = np.empty(groups)
    charge[0] = 1.0
    for j in range(groups):
        if j > 0:
            gamma[j] = share * _wall(kind, rate, size, common, theta, a, j, arrival)
            if gamma[j] <= 0.0:
                return math.inf
        m = _growth(kind, rate, size, common, theta, a, j, gamma[j])
        if not arrival + m <= 0.0:
            return math.inf
        term[j] = window * m + arrival + m
    for wall in range(1, groups):
        own = theta if wall == groups - 1 else a
        if not credit:
            before = a if wall == 1 else a + gamma[wall - 1]
            charge[wall] = before * charge[wall - 1] / gamma[wall]
        elif kind[wall] == LATTICE:
            s = size[wall]
            charge[wall] = _rise(True, charge, gamma, a, s, wall) / math.expm1(gamma[wall] * s)
        else:
            nu = 1.0 / size[wall] - own
            if nu <= gamma[wall]:
                return math.inf
            charge[wall] = (nu - gamma[wall]) / gamma[wall] * _rise(False, charge, gamma, a, nu, wall)
    top = -math.inf
    for j in range(groups):
        term[j] += math.log(charge[j])
        top = max(top, term[j])
    total = 0.0
    for j in range(groups):
        total += math.exp(term[j] - top)
    bound = top + math.log(total) + theta * arrival_size
    return bound - math.log(_prefactor(charge, gamma, theta, a)) if groups > 1 else bound
