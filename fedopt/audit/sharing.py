"""How revenue and penalty of one tenant are shared among the domains of its path: scores, their derivatives,
rules.

The score K = −log-bound and its derivatives in every domain's (R, T, κ, η), in closed form.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np

from fedopt.calculus import minplus, paper
from fedopt.calculus.forms import bit
from fedopt.calculus.path import Path
from fedopt.calculus.risk import mean_times, risk_shares

__all__ = [
    "Attribution",
    "Sensitivities",
    "Shares",
    "minplus_sensitivities",
    "paper_sensitivities",
    "penalty_shares",
    "proper_shares",
    "revenue_shares",
    "score",
    "shapley",
]

Rule = Literal["marginal", "shapley", "proper"]
Guarantee = Literal["minplus", "paper-path"]
MAX_SCORE = 745.0
"""Scores end where e^−K is no longer told from 0 in double precision: a deadline that cannot be missed has
this one.
"""
STEP = 1e-3
"""Relative step of the differences in a rate; a score is found to about 1e-8."""
STAKE = 0.5
MAX_EXACT = 10


@dataclass(frozen=True)
class Attribution:
    """Values per player, shape (n,), adding up to v(all) − v(none); errors: standard errors, 0 where
    exact.
    """

    values: np.ndarray
    errors: np.ndarray
    exact: bool


def shapley(
    players: int,
    value: Callable[[frozenset[int]], float],
    *,
    permutations: int = 400,
    seed: int | np.random.SeedSequence = 0,
) -> Attribution:
    """The Shapley value of a game on players 0 … n − 1.

    Exact up to ten players (2^n evaluations, each once). Above: the mean over random orders, each with its
    reverse, which still adds up exactly; `permutations` orders in all. Raises ValueError where the game has
    a value that is not finite.
    """
    memory: dict[frozenset[int], float] = {}

    def worth(coalition: Sequence[int] | frozenset[int]) -> float:
        key = frozenset(coalition)
        if key not in memory:
            memory[key] = float(value(key))
            if not math.isfinite(memory[key]):
                raise ValueError(f"the coalition {sorted(key)} has no finite value")
        return memory[key]

    if players <= MAX_EXACT:
        values = np.zeros(players)
        for size in range(players):
            weight = 1 / (players * math.comb(players - 1, size))
            for coalition in combinations(range(players), size):
                base = worth(coalition)
                for player in set(range(players)) - set(coalition):
                    values[player] += weight * (worth((*coalition, player)) - base)
        return Attribution(values, np.zeros(players), True)
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(max(permutations // 2, 2)):
        order = rng.permutation(players)
        rows.append((_marginals(order, worth) + _marginals(order[::-1], worth)) / 2)
    table = np.array(rows)
    return Attribution(table.mean(axis=0), table.std(axis=0, ddof=1) / math.sqrt(len(rows)), False)


def _marginals(order: np.ndarray, worth: Callable[[Sequence[int]], float]) -> np.ndarray:
    gains = np.zeros(order.size)
    members: list[int] = []
    before = worth(members)
    for player in order.tolist():
        members.append(player)
        after = worth(members)
        gains[player] = after - before
        before = after
    return gains


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


@dataclass(frozen=True, eq=False)
class Shares:
    """Shares per domain, shape (L,), not negative and adding up to 1, and what they come from."""

    values: np.ndarray
    basis: str


def score(path: Path, rates: np.ndarray, guarantee: Guarantee) -> float:
    """K = −log-bound (21), from 0 (a bound above one says no more than that) to 745 (a deadline that cannot
    be missed).
    """
    if guarantee == "paper-path":
        bound, _ = paper.least_path(path, rates)
    else:
        bound = minplus.evaluate(path, rates).log_bound
    return min(max(0.0, -bound), MAX_SCORE) if not math.isnan(bound) else 0.0


def elasticities(path: Path, rates: np.ndarray, guarantee: Guarantee) -> np.ndarray:
    """R_d·∂K/∂R_d of every domain, at least 0, by the form that gives the score; shape (L,)."""
    rates = np.asarray(rates, dtype=float)
    try:
        if guarantee == "paper-path":
            return np.maximum(rates * paper_sensitivities(path, rates).by_rate, 0.0)
        if minplus.evaluate(path, rates).form == "fine":
            return np.maximum(rates * minplus_sensitivities(path, rates).by_rate, 0.0)
    except ValueError:
        return np.zeros(len(path))
    found = np.zeros(len(path))
    for domain in range(len(path)):
        sides = [rates.copy(), rates.copy()]
        for side, sign in zip(sides, (1, -1), strict=True):
            side[domain] *= 1 + sign * STEP
        up, down = (score(path, side, guarantee) for side in sides)
        found[domain] = (up - down) / (2 * STEP)
    return np.maximum(found, 0.0)


def revenue_shares(path: Path, rates: np.ndarray, guarantee: Guarantee, rule: Rule) -> Shares:
    """Who earned the payment.

    marginal (the paper's rule): in proportion to R_d·∂K/∂R_d, what a domain's reservation adds to the score,
    in the form that gives the score. Under paper-path that is all to the smallest reservation. shapley: of
    the game in which a coalition's domains serve and the others stand still (one without the others serves
    nobody, so that complements share equally). proper: equal parts, before stakes.
    """
    if rule != "marginal":
        return Shares(np.full(len(path), 1.0 / len(path)), "every domain is indispensable: equal parts")
    elasticity = elasticities(path, rates, guarantee)
    if elasticity.sum() > 0:
        return Shares(elasticity / elasticity.sum(), "R·∂K/∂R")
    return Shares(np.array(risk_shares(path, rates)), "mean time in the critical window")


def proper_shares(path: Path, rates: np.ndarray, audited: Mapping[int, Any], stake: float = STAKE) -> Shares:
    """Equal parts of which each domain stakes some on its declared envelope, scored against the audited one.

    With x = θ(κ̂ − κ), audited over declared, a domain loses the part min(1, eˣ − 1 − x) of its stake: a
    score of a mean (that of e^{θI}) which is least, in expectation, for whoever declares the truth; declaring
    better and declaring worse both cost. What is lost goes to the others in equal parts, so nobody gains by
    another's share of the score and nothing is created. Nothing of a domain's part depends on its declaration
    but this loss.
    """
    count = len(path)
    theta = minplus.evaluate(path, rates).theta
    kept, lost = np.full(count, 1.0 / count), np.zeros(count)
    for place, law in audited.items():
        declared, seen = (
            theta * float(each.kappa(theta)) if math.isfinite(theta) else 0.0
            for each in (path.impairments[place], law)
        )
        x = seen - declared if math.isfinite(seen) else math.inf
        loss = math.expm1(x) - x if x < 50.0 else math.inf
        lost[place] = stake / count * min(1.0, loss)
    if count > 1:
        kept += (lost.sum() - lost) / (count - 1) - lost
    return Shares(kept, "equal parts, staked on declared envelopes")


def penalty_shares(
    path: Path,
    rates: np.ndarray,
    degraded: Mapping[int, Any],
    guarantee: Guarantee,
    rule: Rule,
    late: float | None = None,
) -> Shares:
    """Who caused the breach.

    degraded: audited envelope by position on the path, of the domains that laid one open. marginal (the
    paper's rule) and proper: each domain's own loss of score, the others at their contracts, normalised to
    the sum. shapley: of the loss of score over coalitions of degraded domains. late: the audited probability
    of being late; the loss of score that it shows beyond what the envelopes laid open explain is charged to
    the other domains by their parts of the tail risk: an envelope that is withheld protects nobody. Where no
    degradation is known, or none that moves the score, the tail risk itself is shared: mean times in the
    critical window.
    """
    places = sorted(degraded)
    whole = score(path, rates, guarantee)

    def loss(coalition: frozenset[int]) -> float:
        impairments = list(path.impairments)
        for player in coalition:
            impairments[places[player]] = degraded[places[player]]
        return whole - score(replace(path, impairments=tuple(impairments)), rates, guarantee)

    risk = np.array(risk_shares(path, rates))
    if places:
        if rule == "shapley":
            losses = shapley(len(places), loss).values
        else:
            losses = np.array([loss(frozenset({player})) for player in range(len(places))])
        losses = np.maximum(losses, 0.0)
        explained = max(loss(frozenset(range(len(places)))), 0.0)
        hidden = 0.0
        others = [place for place in range(len(path)) if place not in degraded]
        if late is not None and late > 0 and others:
            hidden = max(whole + math.log(late) - explained, 0.0)
        if losses.sum() + hidden > 1e-9:
            values = np.zeros(len(path))
            if losses.sum() > 0:
                values[places] = explained * losses / losses.sum()
            if hidden > 0:
                values[others] = hidden * risk[others] / risk[others].sum()
            basis = "loss of score by degradation"
            return Shares(values / values.sum(), basis + (", the rest by the audit" if hidden > 0 else ""))
    return Shares(risk, "mean time in the critical window")
