"""How revenue and penalty of one tenant are shared among the domains of its path, by two rules side by
side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fedopt.calculus import minplus, paper
from fedopt.calculus.path import Path
from fedopt.calculus.risk import risk_shares
from fedopt.settlement.sensitivities import minplus_sensitivities, paper_sensitivities
from fedopt.settlement.shapley import shapley

__all__ = ["Shares", "penalty_shares", "revenue_shares"]

Rule = Literal["marginal", "shapley"]
Guarantee = Literal["minplus", "paper-path"]


@dataclass(frozen=True, eq=False)
class Shares:
    """Shares per domain, shape (L,), not negative and adding up to 1, and what they come from."""

    values: np.ndarray
    basis: str


def score(path: Path, rates: np.ndarray, guarantee: Guarantee) -> float:
    """K = −log-bound (21), at least 0: a bound above one says no more than that a probability is at most
    one.
    """
    if guarantee == "paper-path":
        bound, _ = paper.least_path(path, rates)
    else:
        bound = minplus.evaluate(path, rates).log_bound
    return max(0.0, -bound) if not math.isnan(bound) else 0.0


def revenue_shares(path: Path, rates: np.ndarray, guarantee: Guarantee, rule: Rule) -> Shares:
    """Who earned the payment.

    marginal (the paper's rule): in proportion to R_d·∂K/∂R_d, what a domain's reservation adds to the score.
    Under paper-path that is all to the smallest reservation. shapley: of the game in which a coalition's
    domains serve and the others stand still (one without the others serves nobody, so that complements share
    equally).
    """
    if rule == "shapley":
        return Shares(np.full(len(path), 1.0 / len(path)), "every domain is indispensable: equal parts")
    try:
        find = paper_sensitivities if guarantee == "paper-path" else minplus_sensitivities
        elasticity = np.maximum(np.asarray(rates) * find(path, rates).by_rate, 0.0)
        if elasticity.sum() > 0:
            return Shares(elasticity / elasticity.sum(), "R·∂K/∂R")
    except ValueError:
        pass
    return Shares(np.array(risk_shares(path, rates)), "mean time in the critical window")


def penalty_shares(
    path: Path, rates: np.ndarray, degraded: Mapping[int, object], guarantee: Guarantee, rule: Rule
) -> Shares:
    """Who caused the breach.

    degraded: audited envelope by position on the path, of the domains that did not deliver what their
    contracts say. marginal (the paper's rule): each domain's own loss of score, the others at their
    contracts, normalised to the sum. shapley: of the loss of score over coalitions of degraded domains.
    Where no degradation is known, or none that moves the score, the tail risk itself is shared: mean times
    in the critical window.
    """
    places = sorted(degraded)
    whole = score(path, rates, guarantee)

    def loss(coalition: frozenset[int]) -> float:
        impairments = list(path.impairments)
        for player in coalition:
            impairments[places[player]] = degraded[places[player]]  # type: ignore[call-overload]
        return whole - score(replace(path, impairments=tuple(impairments)), rates, guarantee)

    if places:
        if rule == "marginal":
            losses = np.array([loss(frozenset({player})) for player in range(len(places))])
        else:
            losses = shapley(len(places), loss).values
        losses = np.maximum(losses, 0.0)
        if losses.sum() > 1e-9:
            values = np.zeros(len(path))
            values[places] = losses / losses.sum()
            return Shares(values, "loss of score by degradation")
    return Shares(np.array(risk_shares(path, rates)), "mean time in the critical window")
