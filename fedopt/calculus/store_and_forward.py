"""The image form of whole requests: store and forward, request by request, without a fluid.

Requests meet domains without impairment. Domain i needs X_i = B/R_i for a request, so the worst path values
backwards from a request, G_i(n) = X_i(n) + max(G_i(n+1) − T_n, G_{i+1}(n)), are a walk that is projected onto
G_1 ≥ … ≥ G_L between two steps of it. With v(θ) = E e^{−θT} and m_i(c) = E e^{cX_i}

    log v + Σ log m_i(a_i − a_{i−1}) ≤ 0,    a_1 = … = a_{L−1} = αθ, a_L = θ, a_0 = 0,
    γ_i the largest root of log v + log m_i(−γ_i) + log m_{i+1}(a_{i+1}+γ_i) + Σ_{j≥i+2} log
    m_j(a_j−a_{j−1}) ≤ 0, B_1 = (a_1/γ_1) m_1(a_1)/m_1(−γ_1),
    B_i = ((a_i+γ_{i−1})/γ_i) B_{i−1} m_{i−1}(−γ_{i−1}) m_i(a_i+γ_{i−1})/m_i(−γ_i)

bound P(sojourn > τ) by e^{−θτ}[Π m_i(a_i−a_{i−1}) + Σ_k B_k m_k(−γ_k) m_{k+1}(a_{k+1}+γ_k) Π …]/φ. It needs
X_i that are independent between domains: sizes of one value, or drawn anew at each. θ is in 1/slot here.
Proof: docs/explanation/whole-requests.md.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from fedopt.calculus.image import image_prefactor
from fedopt.laws.protocol import Law

__all__ = ["STORE_AND_FORWARD", "Proof", "least_bound", "least_scale", "log_bound"]

STORE_AND_FORWARD = "store-and-forward"
"""The name of the form."""

_ROOTS = np.geomspace(1e-3, 1e3, 61)  # where a largest root is looked for, times a
_REACHES = (0.5, 1.0, 2.0, math.inf)
_STARTS = (0.3, 0.6, 0.9)  # of the largest θ, to search from


def log_bound(
    law: Law, rates: np.ndarray, window: float, theta: float, alpha: float, reach: float = math.inf
) -> float:
    """Natural-log bound on P(sojourn of a request > window) at one (θ, α); +inf where nothing is proven.

    rates: work/slot, shape (L,); window: slots after all pure delays; theta: 1/slot; alpha ≥ 1; reach: no γ_i
    exceeds so many R_i/(mean size): a smaller γ than the root is as valid, and better for sizes of one value.
    """
    hops = len(rates)
    if not (theta > 0.0 and alpha >= 1.0 and window >= 0.0):
        return math.inf
    gap = law.log_gap(theta)

    def moment(i: int, c: float) -> float:
        return float(law.log_size_moment(c / rates[i])) if c != 0.0 else 0.0

    if hops == 1:
        own = moment(0, theta)
        return own - theta * window if gap + own <= 0.0 else math.inf
    a = alpha * theta
    charge = np.array([a] * (hops - 1))
    ending = moment(hops - 1, theta - a)
    main = moment(0, a) + ending
    if not gap + main <= 0.0:
        return math.inf
    gamma, walls, log_wall = np.empty(hops - 1), np.empty(hops - 1), np.empty(hops - 1)
    terms = [main]
    for i in range(hops - 1):
        following = a if i + 1 < hops - 1 else theta
        rest = gap + (ending if i + 2 < hops else 0.0)

        def wall(g: float, i: int = i, following: float = following, rest: float = rest) -> float:
            return rest + moment(i, -g) + moment(i + 1, following + g)

        gamma[i] = _largest(wall, a, reach * float(rates[i]) / law.mean_size)
        if not gamma[i] > 0.0:
            return math.inf
        own = moment(i, -gamma[i])
        if i == 0:
            log_wall[0] = math.log(a / gamma[0]) + moment(0, a) - own
        else:
            before = gamma[i - 1]
            log_wall[i] = log_wall[i - 1] + math.log((a + before) / gamma[i])
            log_wall[i] += moment(i - 1, -before) + moment(i, a + before) - own
        walls[i] = own + moment(i + 1, following + gamma[i]) + (ending if i + 2 < hops else 0.0)
        terms.append(log_wall[i] + walls[i])
    return (
        float(np.logaddexp.reduce(terms)) - theta * window - image_prefactor(charge, gamma, theta, log_wall)
    )


def _largest(wall: Callable[[float], float], a: float, limit: float) -> float:
    """The largest γ ≤ limit met with wall(γ) ≤ 0, of a convex function; −1 where there is none."""
    grid = a * _ROOTS
    if math.isfinite(limit):
        grid = np.append(grid[grid < limit], limit)
    values = np.array([wall(float(g)) for g in grid])
    below = np.flatnonzero(values <= 0.0)
    if not below.size:
        return -1.0
    at = int(below[-1])
    low = float(grid[at])
    if at + 1 == grid.size:
        return low
    high = float(grid[at + 1])
    for _ in range(60):
        middle = 0.5 * (low + high)
        if wall(middle) <= 0.0:
            low = middle
        else:
            high = middle
        if high - low <= 1e-10 * high:
            break
    return low


def _top(law: Law, rates: np.ndarray) -> float:
    """The largest θ at which requests of the slowest domain do not pile up, 1/slot; 0 where they always
    do."""
    slowest = float(rates.min())
    if not law.mean < slowest:
        return 0.0
    limit = law.theta_max * slowest

    def growth(theta: float) -> float:
        return law.log_gap(theta) + float(law.log_size_moment(theta / slowest))

    high = 1.0 / slowest if math.isinf(limit) else 0.5 * limit
    while growth(high) <= 0.0 and high < 1e6:
        high = 2.0 * high if math.isinf(limit) else 0.5 * (high + limit)
    return float(optimize.brentq(growth, 1e-9 * high, high)) if growth(high) > 0.0 else high


@dataclass(frozen=True)
class Proof:
    """A proven log-bound, and the parameters that prove it."""

    log_bound: float = math.inf
    theta: float = math.nan
    alpha: float = 1.0
    reach: float = math.inf

    @property
    def parameters(self) -> dict[str, object]:
        """As plans state them, θ aside."""
        found: dict[str, object] = {"alpha": self.alpha}
        return found | {"reach": self.reach} if math.isfinite(self.reach) else found


def least_bound(law: Law, rates: np.ndarray, window: float) -> Proof:
    """The least bound over (θ, α) by Nelder and Mead's method, and a few reaches."""
    rates = np.asarray(rates, float)
    top = _top(law, rates)
    if not top > 0.0 or window < 0.0:
        return Proof()

    def of(point: np.ndarray) -> tuple[float, float]:
        return top * math.exp(min(point[0], 0.0)), 1.0 + math.exp(min(point[1], 6.0))

    def value(point: np.ndarray, reach: float) -> float:
        return min(log_bound(law, rates, window, *of(point), reach), 1e3)

    starts = [np.array([math.log(x), y]) for x in _STARTS for y in (-3.0, -0.5)]
    reaches = _REACHES if len(rates) > 1 else (math.inf,)
    start, reach = min(itertools.product(starts, reaches), key=lambda pair: value(*pair))
    found = optimize.minimize(
        value, start, (reach,), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-4, "maxfev": 120}
    )
    if not found.fun < 1e3:
        return Proof()
    theta, alpha = of(found.x)
    return Proof(float(found.fun), theta, alpha if len(rates) > 1 else 1.0, reach)


def least_scale(
    law: Law, shape: np.ndarray, cap: np.ndarray, window: float, log_epsilon: float
) -> tuple[float, Proof]:
    """(c, proof): the least c, to 1e-5, at which R_i = min(c·s_i, cap_i) is proven; +inf for none."""
    low = law.mean / float(shape.min())
    top = float((cap / shape).max())
    high = 1.1 * low
    while True:
        high = min(high, top)
        found = least_bound(law, np.minimum(high * shape, cap), window)
        if found.log_bound <= log_epsilon:
            break
        if high >= top or high > 1e6 * law.mean:
            return math.inf, Proof()
        low, high = high, 1.5 * high
    while high - low > 1e-5 * high:
        middle = 0.5 * (low + high)
        trial = least_bound(law, np.minimum(middle * shape, cap), window)
        if trial.log_bound <= log_epsilon:
            high, found = middle, trial
        else:
            low = middle
    return high, found
