"""The TRE paper's own delay bounds, verbatim, for comparison; they are not fedopt's guarantee.

Local bound (10) of domain d, with T_d its latency, and path bound (15)–(17), as natural log-bounds on P(W >
τ):

    local:  θ(σ + η_d + κ_dT_d) + φ(θΔ_d) − θΔ_d(τ − T_d),   Δ_d = R_d − ρ − κ_d
    path:   θ(σ + η_Σ) + φ(θΔ) − θΔ(τ − T_Σ),                 Δ = min R_d − ρ − κ_Σ,   η_Σ = Σ(η_d + κ_dT_d)

with φ(x) = −log(1 − e^{−x}). What a user must be told (each shown in the documentation): (10) is valid for
one domain but looser than its own proof by e^{θρ(τ−T)}; problem (20) asks every domain for the whole
deadline, so it does not bound the end-to-end delay; (10) at the second domain and later uses the arrivals
of the first, though departures are burstier; (17) is proven only where ρ(τ − T_Σ) ≥ κ_ΣT_Σ − Σκ_dT_d
(`path_proven`).

The paper knows rate-latency domains only. A pure delay is treated as a guardrail whose impairment acts
during the delay as well. Promises per request use σ + bias/θ for σ. Dependent impairments take Hölder
exponents as in `split`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedopt.calculus.path import Path
from fedopt.calculus.theta_search import least_over_theta, theta_grid

__all__ = [
    "LocalSizing",
    "PathSizing",
    "least_local",
    "least_path",
    "local",
    "path_bound",
    "path_proven",
    "size_local",
    "size_path",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PathSizing:
    """Least common rate under the path bound, work/slot (+inf: none), its θ, and whether (17) is proven."""

    rate: float
    theta: float
    proven: bool


@dataclass(frozen=True, eq=False)
class LocalSizing:
    """Least rates under the local bounds, work/slot ``(L,)`` (+inf: none), and the θ of each domain."""

    rates: Floats
    thetas: Floats


def _envelopes(path: Path, thetas: npt.ArrayLike) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """θ ``(M, 1)``, log burst of the arrivals, ρ ``(M,)``, η and κ ``(M, L)``; +inf outside the domains."""
    theta = np.atleast_1d(np.asarray(thetas, dtype=float))
    with np.errstate(all="ignore"):
        rho = np.broadcast_to(np.asarray(path.arrival.rho(theta), dtype=float), theta.shape)
        start = theta * np.asarray(path.arrival.sigma(theta), dtype=float)
        if path.per_request:
            start = start + np.asarray(path.arrival.request_log_bias(theta), dtype=float)
        pairs = list(zip(path.impairments, path.exponents, strict=True))
        eta = np.stack([np.broadcast_to(i.eta(p * theta), theta.shape) for i, p in pairs], axis=-1)
        kappa = np.stack([np.broadcast_to(i.kappa(p * theta), theta.shape) for i, p in pairs], axis=-1)
    return theta, np.broadcast_to(start, theta.shape), np.array(rho), eta, kappa


def _phi(x: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x > 0, -np.log(-np.expm1(-np.abs(x))), np.inf)


def local(path: Path, rates: npt.ArrayLike, thetas: npt.ArrayLike) -> Floats:
    """Log-bound (10) of every domain at the whole deadline: ``(…, M, L)``; rates ``(L,)`` or ``(…, M, L)``.

    +inf where R_d ≤ ρ + κ_d or the deadline is shorter than the domain's latency.
    """
    path = path.fluid
    theta, start, rho, eta, kappa = _envelopes(path, thetas)
    rate = np.asarray(rates, dtype=float)
    rate = rate[..., None, :] if rate.ndim < 2 else rate
    with np.errstate(invalid="ignore"):
        margin = theta[:, None] * (rate - rho[:, None] - kappa)
        constant = start[:, None] + theta[:, None] * (eta + kappa * path.latencies)
        value = constant + _phi(margin) - margin * (path.deadline - path.latencies)
    return np.where((margin > 0) & (path.deadline >= path.latencies) & np.isfinite(value), value, np.inf)


def path_bound(path: Path, rates: npt.ArrayLike, thetas: npt.ArrayLike) -> Floats:
    """Log-bound (15)–(17) of the path, shape ``(…, M)`` for rates ``(L,)`` or ``(…, M, L)``."""
    path = path.fluid
    theta, start, rho, eta, kappa = _envelopes(path, thetas)
    rate = np.asarray(rates, dtype=float)
    least = rate.min(axis=-1)[..., None] if rate.ndim < 2 else rate.min(axis=-1)
    with np.errstate(invalid="ignore"):
        margin = theta * (least - rho - kappa.sum(axis=-1))
        constant = start + theta * (eta + kappa * path.latencies).sum(axis=-1)
        value = constant + _phi(margin) - margin * (path.deadline - path.latencies.sum())
    possible = (margin > 0) & (path.deadline >= path.latencies.sum()) & np.isfinite(value)
    return np.where(possible, value, np.inf)


def least_path(path: Path, rates: npt.ArrayLike, thetas: npt.ArrayLike | None = None) -> tuple[float, float]:
    """(least log-bound (15)–(17), its θ) of given rates ``(L,)``: best θ of a grid, then refined."""
    grid = theta_grid(path) if thetas is None else thetas
    return least_over_theta(lambda theta: path_bound(path, np.asarray(rates, dtype=float), theta), grid)


def least_local(
    path: Path, rates: npt.ArrayLike, thetas: npt.ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """Least log-bound (10) of every domain at given rates and its θ, shapes ``(L,)``."""
    grid, rate = theta_grid(path) if thetas is None else thetas, np.asarray(rates, dtype=float)

    def of_domain(domain: int) -> Callable[[npt.ArrayLike], Floats]:
        return lambda theta: local(path, rate, theta)[:, domain]

    found = [least_over_theta(of_domain(domain), grid) for domain in range(len(path))]
    return np.array([value for value, _ in found]), np.array([theta for _, theta in found])


def path_proven(path: Path, thetas: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Where (17) follows from the monotone form: ρ(τ − T_Σ) ≥ κ_ΣT_Σ − Σκ_dT_d; shape ``(M,)``."""
    path = path.fluid
    _, _, rho, _, kappa = _envelopes(path, thetas)
    total = path.latencies.sum()
    with np.errstate(invalid="ignore"):
        return rho * (path.deadline - total) >= kappa.sum(axis=-1) * total - (kappa * path.latencies).sum(
            axis=-1
        )


def margin(constant: npt.ArrayLike, window: npt.ArrayLike) -> Floats:
    """Least x > 0 with constant + φ(x) − x·window ≤ 0, elementwise; +inf where window ≤ 0 and it cannot hold.

    The left side is convex and decreasing, so Newton from the left converges monotonically.
    """
    top, span = np.broadcast_arrays(np.asarray(constant, dtype=float), np.asarray(window, dtype=float))
    good = np.isfinite(top) & (span > 0)
    c, w = np.where(good, top, 0.0), np.where(good, span, 1.0)
    # φ(x) ≥ max(0, −log x) gives a start left of the root: c + φ > xw there
    x = np.minimum(np.exp(np.minimum(c, 0.0)) / (2 + w), np.exp(np.minimum(c - 1.0, 0.0)))
    x = np.where(c > 0, np.maximum(x, c / w), x)
    for _ in range(80):
        value = c + _phi(x) - x * w
        slope = -1.0 / np.expm1(np.minimum(x, 700.0)) - w
        step = -value / slope
        x = x + np.maximum(step, 0.0)
        if np.all(np.abs(step) <= 1e-15 * x):
            break
    x = x * (1 + 4e-16)
    return np.where(good, x, np.inf)


def size_path(path: Path, thetas: npt.ArrayLike | None = None, *, refine: bool = True) -> PathSizing:
    """Least rate R that, reserved in every domain, meets the path bound; best θ of the grid, then refined.

    Only the smallest reservation counts in (15)–(17), so a common rate is the cheapest answer at any prices.
    """

    path = path.fluid

    def rates(thetas: npt.ArrayLike) -> Floats:
        theta, start, rho, eta, kappa = _envelopes(path, thetas)
        with np.errstate(invalid="ignore"):
            constant = start + theta * (eta + kappa * path.latencies).sum(axis=-1) - path.log_epsilon
            rate = rho + kappa.sum(axis=-1) + margin(constant, path.deadline - path.latencies.sum()) / theta
        return np.where(np.isfinite(rate), rate, np.inf)

    rate, theta = least_over_theta(rates, theta_grid(path) if thetas is None else thetas, refine)
    return PathSizing(rate, theta, bool(math.isfinite(rate) and path_proven(path, theta)[0]))


def size_local(path: Path, thetas: npt.ArrayLike | None = None, *, refine: bool = True) -> LocalSizing:
    """Least rate of every domain under (10) with the whole deadline in each, as problem (20) has it."""

    path = path.fluid

    def rates(thetas: npt.ArrayLike) -> Floats:
        theta, start, rho, eta, kappa = _envelopes(path, thetas)
        with np.errstate(invalid="ignore"):
            constant = start[:, None] + theta[:, None] * (eta + kappa * path.latencies) - path.log_epsilon
            rate = rho[:, None] + kappa + margin(constant, path.deadline - path.latencies) / theta[:, None]
        return np.where(np.isfinite(rate), rate, np.inf)

    def of_domain(domain: int) -> Callable[[npt.ArrayLike], Floats]:
        return lambda thetas: rates(thetas)[:, domain]

    found = [
        least_over_theta(of_domain(domain), theta_grid(path) if thetas is None else thetas, refine)
        for domain in range(len(path))
    ]
    return LocalSizing(np.array([rate for rate, _ in found]), np.array([theta for _, theta in found]))
