"""The image form with overshoot credit: a tighter theorem for memoryless (or lattice) impairments.

The image form pays for a wall as if the walk could cross it by arbitrarily little. A jump of exponential size
that crosses a wall overshoots by an exponential amount, whatever the level; the image charge falls
exponentially in the overshoot, so a smaller charge suffices. With the notation of the image form, equal a_1 =
… = a_{L−1} = a ≥ θ, a_L = θ, B_0 = 1, and impairments of domain i whose jumps are exponential of mean m_i
(put ν_i = 1/m_i − a_i):

    B_i = (ν_{i+1} − γ_i)/γ_i · r_i,     r_i = max over D ≥ 0 of the expected rise of E_0 … E_{i−1}:
    r_1 = a/(ν+a),  r_{j+1} = max_D B_j[(γ_je^{−νD} − νe^{−γ_jD})/(γ_j−ν) − νe^{−γ_jD}/(ν+a)] + e^{−νD} r_j,

all with ν = ν_{i+1}. For jumps of one fixed size s in all domains (then the D_i stay multiples of s):

    B_i = r_i / (e^{γ_is} − 1),   r_1 = 1 − e^{−as},  r_{j+1} = max(B_j(1−e^{−as}) + r_j,
    B_j(1−e^{−(γ_j+a)s})).

The bound is log Σ_j B_j e^{(n+1)m_j + Λ_A − …} as in the image form, each term with its own growth m_j and
started at ℓ = 1: log Σ_j B_j e^{n m_j + (Λ_A + m_j)} − log φ, under Λ_A(θ) + m_j ≤ 0. Needs equal rates
(lower the larger ones: that is valid), i.i.d. work per slot, and Poisson, exponential or compound Poisson
impairments. Proof: docs/explanation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numba import njit

from fedopt.envelopes.exponential import ExponentialWork
from fedopt.envelopes.poisson import Poisson

PER_SLOT, LATTICE, COMPOUND = range(3)


@dataclass(frozen=True)
class Jumps:
    """Impairments of one group of domains: kind, rate (unused per slot) and size or mean size of a jump."""

    kind: int
    rate: float
    size: float


def jumps(impairment: Any) -> Jumps:
    """The jumps of an impairment. Raises TypeError where they are neither exponential nor of fixed size."""
    if isinstance(impairment, ExponentialWork):
        return Jumps(PER_SLOT, 1.0, impairment.mean_work)
    if isinstance(impairment, Poisson):
        return Jumps(COMPOUND if impairment.exponential else LATTICE, impairment.rate, impairment.size)
    raise TypeError(f"{type(impairment).__name__}: overshoot credit needs exponential or fixed jumps")


def groupings(domains: Sequence[Jumps], most: int = 4) -> Iterator[tuple[Jumps, ...]]:
    """Ways to merge consecutive domains into at most ``most`` groups with one kind of jump each.

    Merged domains serve the sum of their impairments at the smallest rate; a sum of compound Poisson
    impairments of one law of jumps is another. Exponential work per slot is not merged.
    """
    count = len(domains)
    for parts in range(1, min(count, most) + 1):
        for cuts in combinations(range(1, count), parts - 1):
            edges = (0, *cuts, count)
            groups = [tuple(domains[edges[k] : edges[k + 1]]) for k in range(parts)]
            if all(len(g) == 1 or len({(d.kind, d.size) for d in g}) == 1 for g in groups) and all(
                len(g) == 1 or g[0].kind != PER_SLOT for g in groups
            ):
                yield tuple(Jumps(g[0].kind, sum(d.rate for d in g), g[0].size) for g in groups)


@njit(cache=True)
def _moment(kind, rate, size, eta):
    if kind == LATTICE:
        return rate * math.expm1(size * eta) if size * eta < 300.0 else math.inf
    x = size * eta
    if x >= 1.0:
        return math.inf
    return -math.log1p(-x) if kind == PER_SLOT else rate * x / (1.0 - x)


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
def _rise(lattice, charge, gamma, a, nu, wall):
    """r: greatest expected rise of E_0 … E_{wall−1} when wall number ``wall`` is crossed; ``nu`` is s on a
    lattice.

    The maximum over a gap D of a sum of exponentials is bracketed by a grid and raised by its Lipschitz
    margin.
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
        step = 0.02 / (nu + g)
        # past D the value is at most the sum of what is left of its terms, which the last comparison covers
        for i in range(1_500):
            d = i * step
            slow, fast = math.exp(-nu * d), math.exp(-g * d)
            value = charge[j] * ((g * slow - nu * fast) / (g - nu) - nu / (nu + a) * fast) + slow * r
            best = max(best, value)
        # between grid points the value moves by at most half a step times its greatest slope
        slope = (
            charge[j] * (nu * g / abs(g - nu) * (1.0 - min(g, nu) / max(g, nu)) + nu * g / (nu + a)) + nu * r
        )
        r = min(best + 0.5 * step * slope, charge[j] * a / (nu + a) + charge[j] * g / (nu + g) + r)
    return r


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
def _over_a(arrival_rate, arrival_size, kind, rate, size, common, window, theta, credit):
    """(log-bound, a, share) at one θ: a scan of a/θ, then a narrowing one, for each share of γ."""
    found = (math.inf, theta, 1.0)
    for q in range(1 if kind.size == 1 else 4):
        share = (1.0 - 0.2 * q) * (1.0 - 1e-9)
        low, high, n = 0.0, 3.0, 31
        for _ in range(1 if kind.size == 1 else 4):
            place, least = 0.0, math.inf
            for k in range(n):
                up = low + (high - low) * k / (n - 1)
                value = log_bound(
                    arrival_rate, arrival_size, kind, rate, size, common, window, theta, theta * (1.0 + up),
                    share, credit,
                )  # fmt: skip
                if value < least:
                    least, place = value, up
            if least < found[0]:
                found = (least, theta * (1.0 + place), share)
            step = (high - low) / (n - 1)
            low, high, n = max(0.0, place - step), place + step, 9
    return found


@njit(cache=True)
def best(arrival_rate, arrival_size, kind, rate, size, common, window, credit):
    """(log-bound, θ, a, share) by a scan of θ that narrows; any point it stops at is a proof."""
    low, high, n = 0.05 / arrival_size, 1.8 / arrival_size, 36
    found = (math.inf, 0.0, 0.0, 1.0)
    for _ in range(5):
        for i in range(n):
            theta = low + (high - low) * i / (n - 1)
            value, a, share = _over_a(
                arrival_rate, arrival_size, kind, rate, size, common, window, theta, credit
            )
            if value < found[0]:
                found = (value, theta, a, share)
        if found[0] == math.inf:
            return found
        step = (high - low) / (n - 1)
        low, high, n = max(1e-4, found[1] - step), found[1] + step, 7
    return found


def evaluate(
    arrivals: Poisson, domains: Sequence[Jumps], common: float, window: int, *, credit: bool = True
) -> float:
    """The least log-bound per request over all groupings, θ, a and γ, for the common rate ``common`` per
    domain.

    Arrivals are Poisson requests of fixed size. Raises TypeError for others.
    """
    if not isinstance(arrivals, Poisson) or arrivals.exponential:
        raise TypeError("the study's bound is written for Poisson requests of fixed size")
    least = math.inf
    for groups in groupings(domains):
        if not credit and any(g.kind == LATTICE for g in groups) and len({g.size for g in groups}) > 1:
            continue
        if credit and any(g.kind == LATTICE for g in groups):
            same = {(g.kind, g.size) for g in groups}
            if len(same) > 1:
                continue
        found = best(
            arrivals.rate,
            arrivals.size,
            np.array([g.kind for g in groups]),
            np.array([g.rate for g in groups]),
            np.array([g.size for g in groups]),
            common,
            window,
            credit,
        )
        least = min(least, float(found[0]))
    return least
