"""The bounds of the theory, written as they are stated: sums are summed, minima are searched.

All take a `Tandem` and θ and return the natural log of a bound on the probability that the delay exceeds the
deadline; `first` is the ℓ at which the union over arrival times (or Ville's supremum) starts. `exponents` are
Hölder exponents of the domains' impairments, 1 where independent. `math.inf`: the form proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import numpy as np
from scipy.optimize import brentq, minimize, minimize_scalar

from fedopt.laws import OnOff
from tests.oracles import overshoot
from tests.oracles.tandem import Tandem


def moments(tandem: Tandem, theta: float, request: bool = False, exponents=None):
    """θρ, [θκ_i], and the sum of all bursts with the correction for requests."""
    power = [1.0] * len(tandem.impairments) if exponents is None else exponents
    free = theta * float(tandem.arrival.rho(theta))
    lose = np.array(
        [theta * float(j.kappa(p * theta)) for j, p in zip(tandem.impairments, power, strict=True)]
    )
    burst = theta * float(tandem.arrival.sigma(theta))
    burst += sum(theta * float(j.eta(p * theta)) for j, p in zip(tandem.impairments, power, strict=True))
    if request:
        burst += float(tandem.arrival.request_log_bias(theta))
    return free, lose, burst


def symmetric(nodes, degree: int) -> np.ndarray:
    """h_0 … h_degree of the nodes, by convolving the powers of one node after the other (all splits)."""
    total = np.zeros(degree + 1)
    total[0] = 1.0
    for node in nodes:
        total = np.convolve(total, node ** np.arange(degree + 1.0))[: degree + 1]
    return total


def terms(log_ratio: float, hops: int) -> int:
    """How many terms of a series that decays by e^log_ratio, times a polynomial, matter to 1e-18."""
    count = 45.0 / -log_ratio
    return int(min(count + 2 * hops * math.log(count + 10.0) / -log_ratio, 1e9)) + 10


LONGEST = 1_500
"""Series longer than this are not summed; where they are needed the plain forms answer +inf (see
`fine_exact`).
"""


def fine(tandem: Tandem, theta: float, request: bool = False, first: int = 1, exponents=None) -> float:
    """θ(σ+Ση) + Σθ R_iT_i + log Σ_ℓ e^{θρℓ} h_{ℓ+τ}(p), brute force over all splits."""
    free, lose, burst = moments(tandem, theta, request, exponents)
    log_node = lose - theta * np.array(tandem.rates)
    top = log_node.max()
    if not (free + top < 0 and math.isfinite(burst)):
        return math.inf
    last = tandem.window + first + terms(free + top, len(lose))
    if last > LONGEST:
        return math.inf
    h = symmetric(np.exp(log_node - top), last)
    x = np.arange(tandem.window + first, last + 1)
    total = math.fsum(h[x] * np.exp((free + top) * (x - tandem.window)))
    lag = theta * float(np.dot(tandem.rates, tandem.lags))
    return burst + lag + math.log(total) + top * tandem.window


def fine_exact(
    tandem: Tandem, theta: float, request: bool = False, exponents=None, digits: int = 200
) -> float:
    """The same by the divided difference f[p_1..p_L], f(x) = r x^{τ+L}/(1−rx), in `digits` digits; nodes are
    kept apart by 1e-30, which changes nothing that is seen.
    """
    free, lose, burst = moments(tandem, theta, request, exponents)
    with mpmath.workdps(digits):
        logs = [
            mpmath.mpf(float(k)) - mpmath.mpf(theta) * mpmath.mpf(r)
            for k, r in zip(lose, tandem.rates, strict=True)
        ]
        if not free + max(logs) < 0:
            return math.inf
        nodes = [mpmath.exp(x + i * mpmath.mpf(10) ** -30) for i, x in enumerate(logs)]
        r, size = mpmath.exp(mpmath.mpf(free)), len(nodes)
        total = mpmath.mpf(0)
        for i, p in enumerate(nodes):
            apart = mpmath.fprod(p - q for j, q in enumerate(nodes) if j != i)
            total += r * p ** (tandem.window + size) / (1 - r * p) / apart
        return burst + theta * float(np.dot(tandem.rates, tandem.lags)) + float(mpmath.log(total))


def monotone(tandem: Tandem, theta: float, request: bool = False, exponents=None) -> float:
    """θ(σ+Ση) + θκ_Σ τ − θR_min(τ−T_Σ) − log(e^{θΔ} − 1)."""
    free, lose, burst = moments(tandem, theta, request, exponents)
    least = theta * min(tandem.rates)
    margin = least - free - lose.sum()
    if not margin > 0:
        return math.inf
    n, lag = tandem.window, float(tandem.lags.sum())
    return burst + lose.sum() * n - least * (n - lag) - math.log(math.expm1(margin))


def block(
    tandem: Tandem, theta: float, g: int, request: bool = False, exponents=None, pay: str = "best"
) -> float:
    """Splits on blocks of g slots, every domain charged its blocks rounded outward.

    Different rates R_i = R_min + δ_i are credited δ_i·g(y_i−1). That credit exceeds what a domain that
    touches y_i blocks is sure to serve when g > 1: the offsets of the splits inside their blocks add Σ_i
    f_i(δ_{i−1} − δ_i), 0 ≤ f_i < g, to Σδ_i x_i. The worst of it is paid for: (g−1)Σ(R_i − R_{i−1})^+ with
    blocks that begin with the window (`pay` "start"), (g−1)Σ(R_i − R_{i+1})^+ with blocks that end with it
    ("end"), the smaller of the two ("best"; no longer convex in the rates), or nothing ("none": unproven).
    """
    free, lose, burst = moments(tandem, theta, request, exponents)
    rates = np.array(tandem.rates)
    least = rates.min()
    node = g * (lose - theta * (rates - least))
    if not free - theta * least + max(node.max() / g, 0.0) < 0:
        return math.inf
    n = tandem.window
    decay = free - theta * least + node.max() / g
    last = n + terms(decay, len(lose))
    if last > 5 * LONGEST:
        return math.inf
    top = node.max()
    h = symmetric(np.exp(node - top), last // g + 2)
    x = np.arange(n + 1, last + 1)
    used = -(-x // g) - 1  # interior blocks
    total = math.fsum(
        h[used] * np.exp(free * (x - n) - theta * least * x + top * used + (theta * least - top / g) * n)
    )
    steps = np.diff(rates)
    prices = {"start": np.maximum(steps, 0).sum(), "end": np.maximum(-steps, 0).sum(), "none": 0.0}
    prices["best"] = min(prices["start"], prices["end"])
    extra = theta * (g - 1) * prices[pay]
    lag = theta * float(np.dot(rates, tandem.lags))
    return burst + g * lose.sum() + lag + extra + math.log(total) - (theta * least - top / g) * n


def log_on_to_off(law: OnOff, theta: float) -> float:
    """log(w_on/w_off) of the right eigenvector w of P·diag(1, e^{θ·peak}), by numpy."""
    chain = np.array([[1.0 - law.off_to_on, law.off_to_on], [law.on_to_off, 1.0 - law.on_to_off]])
    tilt = np.exp(theta * law.peak * np.array([0.0, 1.0]) - theta * law.peak)
    values, vectors = np.linalg.eig(chain * tilt)
    off, on = np.abs(vectors[:, np.argmax(values.real)])
    return math.log(on / off)


def ville(tandem: Tandem, theta: float, request: bool = False, first: int = 1) -> float:
    """θ(σ+Ση) − θ[R_min(τ−T_Σ) − κ_Σ τ], and a slot more of decay when the supremum starts at ℓ = 1; for
    requests of an on-off source less log(w_on/w_off) where only a slot that is on can begin an excess."""
    free, lose, burst = moments(tandem, theta, request)
    least = theta * min(tandem.rates)
    growth = free + lose.sum() - least
    if not growth <= 0:
        return math.inf
    if request and isinstance(tandem.arrival, OnOff):
        peaks = sum(j.peak if isinstance(j, OnOff) else math.inf for j in tandem.impairments)
        if theta * peaks <= free + lose.sum():
            burst -= max(log_on_to_off(tandem.arrival, theta), 0.0)
    return (
        burst
        + lose.sum() * tandem.window
        - least * (tandem.window - float(tandem.lags.sum()))
        + first * growth
    )


def block_ville(tandem: Tandem, theta: float, g: int, request: bool = False) -> float:
    """Domain 1 by Ville's inequality, the others by blocks counted back from the deadline."""
    free, lose, burst = moments(tandem, theta, request)
    least = theta * min(tandem.rates)
    if not (least >= free + lose[0] and least > free + lose.max()):
        return math.inf
    n, others = tandem.window, lose[1:]
    if not others.size:
        return burst + lose[0] * n - least * n + least * float(tandem.lags.sum())
    top = g * max(others.max(), 0.0)
    count = n // g + 2 + terms((free - least) * g + top, others.size)
    if count > LONGEST:
        return math.inf
    h = symmetric(np.exp(g * others - top), count)
    k = np.arange(count + 1)
    exponent = (
        lose[0] * np.maximum(n - k * g, 0) + free * np.maximum(k * g - n, 0) - least * np.maximum(n, k * g)
    )
    total = math.fsum(h * np.exp(top * k + exponent + least * n))
    return burst + g * others.sum() + least * float(tandem.lags.sum()) + math.log(total) - least * n


def image(
    tandem: Tandem,
    theta: float,
    charges,
    request: bool = False,
    first: int = 1,
    growth: str = "crude",
    ratios=None,
    refined: bool = True,
    credited: bool = False,
) -> float:
    """The image form; `charges` are a_1 ≥ … ≥ a_{L−1} ≥ θ.

    growth of the wall terms over the window: "crude" e^{−Λ_A}; "ordered" the running maximum of ℓ_main, m_1,
    …, m_i; "own" m_i itself, which is not valid in general. `ratios` g_i = γ_i/θ replace the largest roots
    γ_i. Not `refined`: without the factor 1/φ ≤ 1, quicker to search with. `credited`: with overshoot credit
    for each domain's own law (rates that do not fall along the path).
    """
    size = len(tandem.rates)
    free, _, burst = moments(tandem, theta, request)
    rates, n = np.array(tandem.rates), tandem.window

    def ell(i: int, eta: float) -> float:
        return (float(tandem.impairments[i].log_moment(eta)) if eta != 0 else 0.0) - eta * rates[i]

    a = [*charges, theta]
    main = sum(ell(i, a[i] - (a[i - 1] if i else 0.0)) for i in range(size))
    if not free + main <= 0:
        return math.inf
    lag = theta * float(np.dot(rates, tandem.lags))
    if size == 1:
        return burst + lag + n * main + first * (free + main)

    def wall(i: int, gamma: float) -> float:
        return (
            ell(i, -gamma)
            + ell(i + 1, a[i + 1] + gamma)
            + sum(ell(j, a[j] - a[j - 1]) for j in range(i + 2, size))
        )

    gammas = []
    for i in range(size - 1):
        if ratios is not None:
            gamma = ratios[i] * theta
            if not free + wall(i, gamma) <= 1e-12:
                return math.inf
        else:
            gamma = largest_root(lambda x, i=i: free + wall(i, x), theta)
            if gamma is None:
                return math.inf
        gammas.append(gamma)
    weights = [a[0] / gammas[0]]
    for i in range(1, size - 1):
        weights.append((a[i] + gammas[i - 1]) * weights[-1] / gammas[i])
    if credited:
        weights = overshoot.weights(tandem.impairments, rates, theta, charges, gammas)
    own = [wall(i, gammas[i]) for i in range(size - 1)]
    if growth == "crude":
        speed = [-free] * (size - 1)
    elif growth == "ordered":
        speed = list(np.maximum.accumulate([main, *own])[1:])
    else:
        speed = own
    logs = [n * main + first * (free + main)]
    logs += [math.log(b) + n * m + first * (free + m) for b, m in zip(weights, speed, strict=True)]
    gain = log_phi(np.array(a), np.array(gammas), np.array(weights)) if refined else 0.0
    return burst + lag + float(np.logaddexp.reduce(logs)) - gain


def largest_root(function: Callable[[float], float], scale: float) -> float | None:
    """The largest γ > 0 with f(γ) ≤ 0 of a convex f, None where there is none."""
    low = None
    for x in scale * np.geomspace(0.02, 50.0, 24):  # convex: the set f ≤ 0 is an interval
        if function(x) < 0:
            low = x
    if low is None:
        return None
    high = low
    while function(high) <= 0:
        high *= 1.5
        if high > 1e9 * scale:
            return low
    while not math.isfinite(function(high)):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            return low
        if function(middle) <= 0:
            low = middle
        else:
            high = middle
    root = brentq(function, low, high, xtol=1e-15, rtol=1e-14)
    return root if function(root) <= 0 else root * (1 - 1e-13)


def log_phi(a: np.ndarray, gammas: np.ndarray, weights: np.ndarray) -> float:
    """log min_{D ≥ 0} of [e^{Σa_jD_j} + Σ B_i e^{−γ_iD_i + Σ_{j>i}a_jD_j}] e^{−θΣD}, by general convex
    optimisation.
    """
    walls = len(gammas)
    theta = a[-1]
    power = np.zeros((walls + 1, walls))
    power[0] = a[:-1]
    for i in range(walls):
        power[i + 1, i] = -gammas[i]
        power[i + 1, i + 1 :] = a[i + 1 : -1]
    power -= theta
    constant = np.concatenate([[0.0], np.log(weights)])

    def value(d: np.ndarray) -> tuple[float, np.ndarray]:
        x = constant + power @ d
        top = x.max()
        w = np.exp(x - top)
        return float(top + math.log(w.sum())), (w / w.sum()) @ power

    best = math.inf
    for start in (0.3, 3.0):
        found = minimize(
            value,
            np.full(walls, start / theta),
            jac=True,
            bounds=[(0, 400.0 / theta)] * walls,
            method="L-BFGS-B",
            options={"ftol": 1e-16, "gtol": 1e-12, "maxiter": 2000},
        )
        best = min(best, float(found.fun))
    return max(best, 0.0)


def paper_local(tandem: Tandem, theta: float, domain: int) -> float:
    """(10) of one domain at the whole deadline."""
    free, lose, _ = moments(tandem, theta)
    late = tandem.latencies[domain]
    burst = theta * float(tandem.arrival.sigma(theta) + tandem.impairments[domain].eta(theta))
    margin = theta * tandem.rates[domain] - free - lose[domain]
    if not margin > 0:
        return math.inf
    return burst + lose[domain] * late - math.log(-math.expm1(-margin)) - margin * (tandem.deadline - late)


def paper_path(tandem: Tandem, theta: float) -> float:
    """(15)–(17)."""
    free, lose, burst = moments(tandem, theta)
    late = np.array(tandem.latencies)
    margin = theta * min(tandem.rates) - free - lose.sum()
    if not margin > 0:
        return math.inf
    return (
        burst + float(lose @ late) - math.log(-math.expm1(-margin)) - margin * (tandem.deadline - late.sum())
    )


def best_theta(
    bound: Callable[[float], float],
    top: float = math.inf,
    points: int = 60,
    accuracy: float = 1e-9,
    span: float = 9.0,
) -> tuple[float, float]:
    """(least value, θ) of a bound over θ: a grid below `top` (the end of the domain), then refined."""
    high = math.log(0.999 * top) if math.isfinite(top) else math.log(50.0)
    grid = np.linspace(high - span, high, points)
    values = [bound(math.exp(x)) for x in grid]
    at = int(np.argmin(values))
    if not math.isfinite(values[at]):
        return math.inf, math.exp(grid[at])
    found = minimize_scalar(
        lambda x: min(bound(math.exp(x)), 1e6),
        bounds=(grid[max(at - 1, 0)], grid[min(at + 1, points - 1)]),
        method="bounded",
        options={"xatol": accuracy},
    )
    return min((float(found.fun), math.exp(found.x)), (values[at], math.exp(grid[at])))
