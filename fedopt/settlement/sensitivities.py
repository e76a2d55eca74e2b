"""The score K = −log-bound and its derivatives in every domain's (R, T, κ, η), in closed form.

Paper path, with g = θ(τ − T_Σ) + θ/(e^{θΔ} − 1) the derivative in the margin Δ = R_min − ρ − κ_Σ:
    ∂K/∂R_d = g for the smallest reservation, 0 for the others;  ∂K/∂T_d = −θ(κ_d + Δ);  ∂K/∂κ_d = −g − θT_d;
    ∂K/∂η_d = −θ.
Minplus, fine form at the same θ, with ⟨x_d⟩ the mean slots that the critical window spends in domain d
(Gibbs weights):
    ∂K/∂R_d = θ(⟨x_d⟩ − T_d);  ∂K/∂κ_d = −θ⟨x_d⟩;  ∂K/∂η_d = −θ;  ∂K/∂T_d = −θR_d for a rate-latency
    guardrail; for a pure delay the window counts whole slots, and what one slot less costs is stated instead.
With Hölder exponents p_d (dependent domains) κ_d and η_d are those at p_dθ. Units: slots, work, work per
slot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from fedopt.calculus import minplus, paper
from fedopt.calculus.forms import bit
from fedopt.calculus.path import Path
from fedopt.calculus.risk import mean_times

__all__ = ["Sensitivities", "minplus_sensitivities", "paper_sensitivities"]


@dataclass(frozen=True, eq=False)
class Sensitivities:
    """The score of a path at θ and its derivatives, each of shape (L,): per work/slot, per slot, per
    work/slot, per work.
    """

    score: float
    theta: float
    by_rate: np.ndarray
    by_latency: np.ndarray
    by_kappa: np.ndarray
    by_eta: np.ndarray


def paper_sensitivities(path: Path, rates: np.ndarray, theta: float | None = None) -> Sensitivities:
    """Of the paper's path bound (15)–(17) at θ (the best if not given). Raises ValueError where it proves
    nothing.
    """
    path, rates = path.fluid, np.asarray(rates, dtype=float)
    if theta is None:
        _, theta = paper.least_path(path, rates)
    score = -float(paper.path_bound(path, rates, theta)[0]) if theta and math.isfinite(theta) else -math.inf
    if not math.isfinite(score):
        raise ValueError("the paper's path bound proves nothing for these reservations")
    exponents = path.exponents
    kappa = np.array([float(i.kappa(p * theta)) for i, p in zip(path.impairments, exponents, strict=True)])
    margin = float(rates.min() - path.arrival.rho(theta) - kappa.sum())
    slope = theta * (path.deadline - path.latencies.sum()) + theta / math.expm1(theta * margin)
    by_rate = np.zeros(len(path))
    by_rate[int(np.argmin(rates))] = slope
    return Sensitivities(
        score,
        theta,
        by_rate,
        -theta * (kappa + margin),
        -slope - theta * path.latencies,
        np.full(len(path), -theta),
    )


def minplus_sensitivities(path: Path, rates: np.ndarray, theta: float | None = None) -> Sensitivities:
    """Of the fine form of minplus at θ (its best if not given). Raises ValueError where it proves nothing."""
    path, rates = path.fluid, np.asarray(rates, dtype=float)
    if theta is None:
        theta = minplus.evaluate(path, rates, bit("fine")).theta
    score = _fine_score(path, rates, theta)
    times = mean_times(path, rates, theta) if math.isfinite(score) else np.full(len(path), math.nan)
    if not np.isfinite(times).all():
        raise ValueError("the fine form proves nothing for these reservations")
    shorter = _fine_score(replace(path, deadline=path.deadline - 1), rates, theta)
    by_latency = np.where(path.rate_latency, -theta * rates, shorter - score)
    return Sensitivities(
        score,
        theta,
        theta * (times - path.guardrail_latencies),
        by_latency,
        -theta * times,
        np.full(len(path), -theta),
    )


def _fine_score(path: Path, rates: np.ndarray, theta: float) -> float:
    """−log-bound of the fine form at θ; −inf where it proves nothing."""
    if not math.isfinite(theta) or path.window < 0:
        return -math.inf
    parameters: dict[str, object] = {"exponents": path.exponents.tolist()} if path.dependent else {}
    stated = minplus.Evaluation(math.inf, "fine", theta, None, parameters)
    return -minplus.verify(path, rates, stated)
